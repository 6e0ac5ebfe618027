/* SPDX-License-Identifier: GPL-3.0-or-later */
/* For where there is no libFuzzer: run each input of the corpus, and then what comes of changing them at random.
 *
 *     fuzz_x -max_total_time=SECONDS CORPUS_FOLDER
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUTS = 256, INPUT_MAX = 4096, LEAST_RUNS = 2000 };

static struct {
    uint8_t bytes[INPUT_MAX];
    size_t size;
} inputs[INPUTS];

int main(int argc, char **argv)
{
    static uint8_t bytes[INPUT_MAX];
    unsigned count = 0, state = 1, runs = 0;
    time_t end;
    DIR *folder;

    if (argc < 3 || !(folder = opendir(argv[2])))
        return 2;
    for (struct dirent *entry; (entry = readdir(folder)) && count < INPUTS;) {
        char path[1024];
        FILE *file;

        snprintf(path, sizeof path, "%s/%s", argv[2], entry->d_name);
        if (entry->d_name[0] == '.' || !(file = fopen(path, "rb")))
            continue;
        inputs[count].size = fread(inputs[count].bytes, 1, INPUT_MAX, file);
        fclose(file);
        LLVMFuzzerTestOneInput(inputs[count].bytes, inputs[count].size);
        count++;
    }
    closedir(folder);
    end = time(NULL) + atoi(strchr(argv[1], '=') + 1);
    for (; runs < LEAST_RUNS || time(NULL) < end; runs++) {
        unsigned from = count ? draw(&state, count) : 0;
        size_t size = count ? inputs[from].size : 0;

        memcpy(bytes, inputs[from].bytes, size);
        for (unsigned changes = draw(&state, 8); changes--;) {
            size_t at = draw(&state, (unsigned)size + 1);

            if (draw(&state, 2) && size < INPUT_MAX) {
                memmove(bytes + at + 1, bytes + at, size - at);
                size++;
                bytes[at] = (uint8_t)draw(&state, 256);
            } else if (at < size) {
                bytes[at] = (uint8_t)draw(&state, 256);
            }
        }
        LLVMFuzzerTestOneInput(bytes, size);
    }
    printf("%u inputs, %u runs\n", count, runs);
    return 0;
}
