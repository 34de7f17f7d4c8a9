/* SPDX-License-Identifier: MIT */
/* Large blocks that the C library itself makes and the program frees: streams, lines, strings. */
#include "victim.h"

int main(void)
{
    char *text, *line = NULL, *copy, *printed;
    size_t size, room = 0;
    FILE *memory = open_memstream(&text, &size);
    CHECK(memory != NULL);
    for (int i = 0; i < 400000; i++)
        CHECK(fprintf(memory, "%d,", i) > 0);
    CHECK(fclose(memory) == 0);
    CHECK(size == strlen(text) && size > 2 * MIB);

    FILE *file = tmpfile();
    CHECK(file != NULL && setvbuf(file, NULL, _IOFBF, MIB) == 0);
    CHECK(fputs(text, file) >= 0 && fputc('\n', file) == '\n');
    rewind(file);
    CHECK(getline(&line, &room, file) == (ssize_t)size + 1);
    CHECK(memcmp(line, text, size) == 0);
    CHECK(fclose(file) == 0);

    copy = strdup(text);
    CHECK(copy != NULL && strcmp(copy, text) == 0);
    CHECK(asprintf(&printed, "<%s>", text) == (int)size + 2);
    CHECK(memcmp(printed + 1, text, size) == 0);
    free(text);
    free(line);
    free(copy);
    free(printed);
    return done();
}
