# SPDX-License-Identifier: MIT
# Vectors of 8 to 40 MB, data frames, sorts, a model, strings and a file.
set.seed(1)
x <- runif(1e6)
y <- 3 * x + rnorm(1e6)
for (i in 1:5) x <- x * 2 - y / 3
cat(format(c(sum(x), sd(y), median(x)), digits = 10), "\n")
d <- data.frame(x = x, y = y, g = rep(1:1000, 1000))[1:200000, ]
print(round(head(aggregate(y ~ g, d, mean)), 6))
print(round(coef(lm(y ~ x, d)), 8))
s <- paste0("s", order(x)[1:100000])
cat(length(unique(s)), nchar(paste(s, collapse = "")), sort(s)[1:3], "\n")
v <- integer(0)
for (i in 1:300) v <- c(v, seq_len(1000))
cat(sum(v), all(numeric(5e6) == 0), "\n")
saveRDS(d, "d.rds", compress = FALSE)
cat(identical(readRDS("d.rds"), d), "\n")
invisible(gc())
