% SPDX-License-Identifier: MIT
% Expressions on 8 MB matrices, growth, sorts, cells and strings.
a = reshape(1:1e6, 1000, 1000);
for k = 1:5
  a = a .* 2 - a' / 3 + 1;
end
printf("%.10g %.10g\n", sum(a(:)), std(a(:)));
v = [];
for k = 1:200
  v = [v, k * ones(1, 1000)];
end
printf("%d %g\n", numel(v), sum(v));
b = eye(300) * 5 + ones(300);
printf("%.8f\n", sum(b \ ones(300, 1)));
c = num2cell(1:50000);
s = sprintf("%d,", c{:});
printf("%d %d\n", numel(s), numel(strsplit(s, ",")));
printf("%d\n", sort(mod((1:1e6) * 7919, 1000003))(12345));
printf("%d\n", all(zeros(2000)(:) == 0));
