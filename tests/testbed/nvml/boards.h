/* Copyright: the gpufleet.k8s authors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the stand-in's GPUs can be cut into. Placements and engine counts: NVIDIA's MIG user guide. Memory and SM figures: of the
 * A100-SXM4-40GB as go-nvml's mock has them, of the others scaled so that the names (memory / total in eighths) come out right.
 * Blackwell boards: profiles, ids and engines as in plugins/module_utils/_mig/known.py (test_mig_judge.py compares them). Their memory
 * is the nominal one in eighths or quarters; SM, copy engines and subsystem ids are not known, so 0 stands there.
 */
#pragma once

#define KINDS 18 /* NVML_GPU_INSTANCE_PROFILE_COUNT */
#define STARTS 8

struct kind {
    int profile; /* the enum that queries take */
    unsigned id; /* the number that creation takes */
    unsigned slices, size, limit, sm, copy, decoder, encoder, jpeg, ofa, memory_mib;
    const char *name;
    int starts[STARTS]; /* -1 ends */
};

struct board {
    const char *key, *name;
    unsigned pci_id, subsystem_id, memory_mib;
    int major, minor; /* CUDA compute capability */
    int slots, needs_reset;
    struct kind kinds[KINDS]; /* id 0 and slices 0 end */
};

#define S1_8 {0, 1, 2, 3, 4, 5, 6, -1}
#define S2_8 {0, 2, 4, -1}
#define S1D_8 {0, 2, 4, 6, -1}
#define S4_8 {0, 4, -1}
#define S0 {0, -1}
#define S1_4 {0, 1, 2, 3, -1}
#define S2_4 {0, 2, -1}

/*      enum id  g size n  sm  ce dec enc jpg ofa memory */
#define AMPERE(one, dbl, two, half, whole, n1, nd, n2, n3, n4, n7)                                                                 \
    {{0, 19, 1, 1, 7, 14, 1, 0, 0, 0, 0, one, "MIG " n1, S1_8},                                                                    \
     {1, 14, 2, 2, 3, 28, 2, 1, 0, 0, 0, two, "MIG " n2, S2_8},                                                                    \
     {2, 9, 3, 4, 2, 42, 3, 2, 0, 0, 0, half, "MIG " n3, S4_8},                                                                    \
     {3, 5, 4, 4, 1, 56, 4, 2, 0, 0, 0, half, "MIG " n4, S0},                                                                      \
     {4, 0, 7, 8, 1, 98, 7, 5, 0, 1, 1, whole, "MIG " n7, S0},                                                                     \
     {7, 20, 1, 1, 1, 14, 1, 1, 0, 1, 1, one, "MIG " n1 "+me", S1_8},                                                              \
     {9, 15, 1, 2, 4, 14, 1, 1, 0, 0, 0, dbl, "MIG " nd, S1D_8}}
#define HOPPER(one, dbl, two, half, whole, n1, nd, n2, n3, n4, n7)                                                                 \
    {{0, 19, 1, 1, 7, 16, 1, 1, 0, 1, 0, one, "MIG " n1, S1_8},                                                                    \
     {1, 14, 2, 2, 3, 32, 2, 2, 0, 2, 0, two, "MIG " n2, S2_8},                                                                    \
     {2, 9, 3, 4, 2, 60, 3, 3, 0, 3, 0, half, "MIG " n3, S4_8},                                                                    \
     {3, 5, 4, 4, 1, 64, 4, 4, 0, 4, 0, half, "MIG " n4, S0},                                                                      \
     {4, 0, 7, 8, 1, 132, 8, 7, 0, 7, 1, whole, "MIG " n7, S0},                                                                    \
     {7, 20, 1, 1, 1, 16, 1, 1, 0, 1, 1, one, "MIG " n1 "+me", S1_8},                                                              \
     {9, 15, 1, 2, 4, 26, 1, 1, 0, 1, 0, dbl, "MIG " nd, S1D_8}}

/* The same kinds and engines as Hopper's (ids assumed equal), without the figures that are not known. */
#define BLACKWELL(one, dbl, two, half, whole, n1, nd, n2, n3, n4, n7)                                                              \
    {{0, 19, 1, 1, 7, 0, 0, 1, 0, 1, 0, one, "MIG " n1, S1_8},                                                                     \
     {1, 14, 2, 2, 3, 0, 0, 2, 0, 2, 0, two, "MIG " n2, S2_8},                                                                     \
     {2, 9, 3, 4, 2, 0, 0, 3, 0, 3, 0, half, "MIG " n3, S4_8},                                                                     \
     {3, 5, 4, 4, 1, 0, 0, 4, 0, 4, 0, half, "MIG " n4, S0},                                                                       \
     {4, 0, 7, 8, 1, 0, 0, 7, 0, 7, 1, whole, "MIG " n7, S0},                                                                      \
     {7, 20, 1, 1, 1, 0, 0, 1, 0, 1, 1, one, "MIG " n1 "+me", S1_8},                                                               \
     {9, 15, 1, 2, 4, 0, 0, 1, 0, 1, 0, dbl, "MIG " nd, S1D_8}}

static const struct board BOARDS[] = {
    {"A100-40", "NVIDIA A100-PCIE-40GB", 0x20F110DE, 0x145F10DE, 40960, 8, 0, 8, 1,
     AMPERE(4864, 9856, 9856, 19968, 40192, "1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")},
    {"A100-80", "NVIDIA A100-SXM4-80GB", 0x20B210DE, 0x146310DE, 81920, 8, 0, 8, 1,
     AMPERE(9856, 19968, 19968, 40448, 81152, "1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")},
    {"A30", "NVIDIA A30", 0x20B710DE, 0x153210DE, 24576, 8, 0, 4, 1,
     /* NVML reports wrong instance counts for this board (so mig-parted's source says; which, it does not): the second is a guess. */
     {{0, 14, 1, 1, 4, 14, 1, 0, 0, 0, 0, 5952, "MIG 1g.6gb", S1_4},
      {1, 5, 2, 2, 3, 28, 2, 2, 0, 0, 0, 11968, "MIG 2g.12gb", S2_4},
      {3, 0, 4, 4, 1, 56, 4, 4, 0, 1, 1, 24128, "MIG 4g.24gb", S0},
      {7, 21, 1, 1, 1, 14, 1, 1, 0, 1, 1, 5952, "MIG 1g.6gb+me", S1_4},
      {8, 6, 2, 2, 1, 28, 2, 2, 0, 1, 1, 11968, "MIG 2g.12gb+me", S2_4}}},
    {"H100-80", "NVIDIA H100 80GB HBM3", 0x233010DE, 0x16C110DE, 81559, 9, 0, 8, 0,
     HOPPER(9984, 20096, 20096, 40448, 81024, "1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")},
    {"H200", "NVIDIA H200", 0x233510DE, 0x18BE10DE, 143771, 9, 0, 8, 0,
     HOPPER(16384, 33280, 33280, 71168, 142848, "1g.18gb", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb")},
    {"B200", "NVIDIA B200", 0x290110DE, 0, 184320, 10, 0, 8, 0,
     BLACKWELL(23040, 46080, 46080, 92160, 184320, "1g.23gb", "1g.45gb", "2g.45gb", "3g.90gb", "4g.90gb", "7g.180gb")},
    {"RTX-PRO-6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", 0x2BB510DE, 0, 98304, 12, 0, 4, 0,
     {{0, 14, 1, 1, 4, 0, 0, 1, 1, 1, 0, 24576, "MIG 1g.24gb", S1_4},
      {1, 5, 2, 2, 2, 0, 0, 2, 2, 2, 0, 49152, "MIG 2g.48gb", S2_4},
      {3, 0, 4, 4, 1, 0, 0, 4, 4, 4, 1, 98304, "MIG 4g.96gb", S0},
      {7, 21, 1, 1, 1, 0, 0, 1, 1, 1, 1, 24576, "MIG 1g.24gb+me", S1_4},
      {10, 47, 1, 1, 4, 0, 0, 1, 1, 1, 0, 24576, "MIG 1g.24gb+gfx", S1_4},
      {11, 35, 2, 2, 2, 0, 0, 2, 2, 2, 0, 49152, "MIG 2g.48gb+gfx", S2_4},
      {12, 32, 4, 4, 1, 0, 0, 4, 4, 4, 1, 98304, "MIG 4g.96gb+gfx", S0},
      {13, 67, 1, 1, 4, 0, 0, 0, 0, 0, 0, 24576, "MIG 1g.24gb-me", S1_4},
      {14, 66, 2, 2, 2, 0, 0, 0, 0, 0, 0, 49152, "MIG 2g.48gb-me", S2_4},
      {15, 65, 1, 1, 1, 0, 0, 4, 4, 4, 1, 24576, "MIG 1g.24gb+me.all", S1_4},
      {16, 64, 2, 2, 1, 0, 0, 4, 4, 4, 1, 49152, "MIG 2g.48gb+me.all", S2_4}}},
    /* Cannot do MIG: GetMigMode answers NOT_SUPPORTED. */
    {"T4", "Tesla T4", 0x1EB810DE, 0x12A210DE, 15360, 7, 5, 0, 0, {{0}}},
};
