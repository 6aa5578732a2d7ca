/* Copyright: the gpufleet.k8s authors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A stand-in for nvidia-smi: only `-r -i BUSID[,BUSID]` (reset, as mig-parted and mig_parted call it) and `-L`.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef int call_t();

int main(int argc, char **argv)
{
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library) {
        puts("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver (stand-in).");
        return 9;
    }
    if (argc == 4 && !strcmp(argv[1], "-r") && !strcmp(argv[2], "-i")) {
        call_t *reset = (call_t *)dlsym(library, "fakeNvmlReset");
        int failed = 0;
        for (char *id = strtok(argv[3], ","); id; id = strtok(NULL, ",")) {
            char text[256];
            int rc = reset(id, text, sizeof text);
            if (!rc)
                printf("GPU %s was successfully reset.\n", id);
            else if (rc == 19)
                printf("GPU %s is currently in use by another process.\n", id);
            else
                printf("Unable to reset GPU %s: %s\n", id, *text ? text : "Unknown Error");
            failed |= rc;
        }
        puts(failed ? "Some GPUs could not be reset." : "All done.");
        return failed ? 255 : 0;
    }
    if (argc == 2 && !strcmp(argv[1], "-L")) {
        unsigned count = 0;
        uint64_t handle;
        char name[96], uuid[96];
        ((call_t *)dlsym(library, "nvmlInit_v2"))();
        ((call_t *)dlsym(library, "nvmlDeviceGetCount_v2"))(&count);
        for (unsigned n = 0; n < count; n++)
            if (!((call_t *)dlsym(library, "nvmlDeviceGetHandleByIndex_v2"))(n, &handle)) {
                ((call_t *)dlsym(library, "nvmlDeviceGetName"))(handle, name, 96u);
                ((call_t *)dlsym(library, "nvmlDeviceGetUUID"))(handle, uuid, 96u);
                printf("GPU %u: %s (UUID: %s)\n", n, name, uuid);
            }
        return 0;
    }
    puts("This stand-in of nvidia-smi knows only: nvidia-smi -r -i BUSID[,BUSID]; nvidia-smi -L");
    return 1;
}
