/* SPDX-License-Identifier: MIT */
/*
 * The core under any history: who asks for what, when time passes, when the kernel fails, when the process forks.
 */
#include "model.h"

#include <string.h>

#include "fake_os.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_bytes bytes = {.data = data, .size = size};
    struct model_setup setup;
    memset(&fake_os, 0, sizeof fake_os);
    model_setup_read(&setup, &bytes);
    (void)model_live(&setup, &bytes);
    return 0;
}
