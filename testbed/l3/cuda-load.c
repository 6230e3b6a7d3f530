/* A CUDA program of known load, through the driver's library alone: it needs no CUDA to be compiled or to run.
 *
 *   cuda-load [MEMORY_MIB [BUSY_PERCENT [SECONDS]]]     default 512 100 10
 *
 * It takes MEMORY_MIB with one cuMemAlloc, adds vectors in it for BUSY_PERCENT of the time, checks the sums and says
 * `Test PASSED`. Exit code 3: the memory was refused; 1: anything else went wrong. It sets nothing of the GPU and takes no
 * managed memory. Signatures and numbers: the CUDA driver API, cuda.h of CUDA 12 and 13.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { ELEMENTS = 1 << 24, BYTES = ELEMENTS * 4, VECTORS = 3, THREADS = 256, LAUNCHES = 64 };
enum { MULTIPROCESSORS = 16 /* CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT */, REFUSED = 3 };
enum { ONE = 0x3f800000, TWO = 0x40000000 }; /* 1.0f and 2.0f */
static const double PERIOD = 0.2;
typedef unsigned long long address_t;

static const char ADD[] = /* c = a + b; PTX of Volta, which every later GPU takes */
    ".version 6.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry add(.param .u64 a, .param .u64 b, .param .u64 c) {\n"
    ".reg .f32 %f<4>; .reg .b32 %r<5>; .reg .b64 %d<11>;\n"
    "ld.param.u64 %d1, [a]; ld.param.u64 %d2, [b]; ld.param.u64 %d3, [c];\n"
    "cvta.to.global.u64 %d4, %d1; cvta.to.global.u64 %d5, %d2; cvta.to.global.u64 %d6, %d3;\n"
    "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x; mad.lo.u32 %r4, %r1, %r2, %r3;\n"
    "mul.wide.u32 %d7, %r4, 4; add.s64 %d8, %d4, %d7; add.s64 %d9, %d5, %d7; add.s64 %d10, %d6, %d7;\n"
    "ld.global.f32 %f1, [%d8]; ld.global.f32 %f2, [%d9]; add.f32 %f3, %f1, %f2; st.global.f32 [%d10], %f3;\n"
    "ret; }\n";

static void *library;
static int (*error_name)(int, const char **);

static void *find(const char *name) {
  void *found = dlsym(library, name);
  if (!found) printf("libcuda.so.1 has no %s\n", name), exit(1);
  return found;
}
static const char *name_of(int code) {
  const char *name = NULL;
  return error_name(code, &name) || !name ? "unknown error" : name;
}
static void check(const char *what, int code) {
  if (code) printf("%s: %s (%d)\n", what, name_of(code), code), exit(1);
}
#define CALL(name, types, ...) check(#name, ((int(*) types)find(#name))(__VA_ARGS__))

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static address_t take(unsigned long mib) {
  address_t memory = 0;
  size_t available = 0, total = 0;
  int code = ((int (*)(address_t *, size_t))find("cuMemAlloc_v2"))(&memory, (size_t)mib << 20);
  if (!code) return memory;
  CALL(cuMemGetInfo_v2, (size_t *, size_t *), &available, &total);
  printf("refused %lu MiB: %s (%d), free %zu of %zu MiB\n", mib, name_of(code), code, available >> 20, total >> 20);
  exit(REFUSED);
}

static void launch(void *function, address_t *vectors) {
  void *arguments[VECTORS] = {vectors, vectors + 1, vectors + 2};
  for (int n = 0; n < LAUNCHES; ++n)
    CALL(cuLaunchKernel,
         (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **), function,
         ELEMENTS / THREADS, 1, 1, THREADS, 1, 1, 0, NULL, arguments, NULL);
  CALL(cuCtxSynchronize, (void));
}

static void verify(address_t sums) {
  float *found = malloc(BYTES);
  if (!found) printf("no memory for the sums\n"), exit(1);
  CALL(cuMemcpyDtoH_v2, (void *, address_t, size_t), found, sums, BYTES);
  for (int n = 0; n < ELEMENTS; ++n)
    if (found[n] != 3.0f) printf("sum %d is %f, not 3\n", n, found[n]), exit(1);
}

int main(int count, char **words) {
  unsigned long mib = count > 1 ? strtoul(words[1], NULL, 10) : 512;
  double busy = count > 2 ? strtod(words[2], NULL) / 100 : 1, seconds = count > 3 ? strtod(words[3], NULL) : 10;
  int device = 0, multiprocessors = 0;
  char name[100] = "";
  void *context, *module, *function;
  unsigned long rounds = 0;

  setvbuf(stdout, NULL, _IOLBF, 0);
  if (mib < (unsigned long)VECTORS * BYTES >> 20) return printf("at least %d MiB\n", VECTORS * BYTES >> 20), 1;
  if (!(library = dlopen("libcuda.so.1", RTLD_NOW))) return printf("%s\n", dlerror()), 1;
  error_name = (int (*)(int, const char **))find("cuGetErrorName");
  CALL(cuInit, (unsigned), 0);
  CALL(cuDeviceGet, (int *, int), &device, 0);
  CALL(cuDeviceGetName, (char *, int, int), name, sizeof name, device);
  CALL(cuCtxCreate_v2, (void **, unsigned, int), &context, 0, device);
  CALL(cuDeviceGetAttribute, (int *, int, int), &multiprocessors, MULTIPROCESSORS, device);
  address_t memory = take(mib), vectors[VECTORS] = {memory, memory + BYTES, memory + 2 * (address_t)BYTES};
  CALL(cuMemsetD32_v2, (address_t, unsigned, size_t), vectors[0], ONE, ELEMENTS);
  CALL(cuMemsetD32_v2, (address_t, unsigned, size_t), vectors[1], TWO, ELEMENTS);
  CALL(cuModuleLoadData, (void **, const void *), &module, ADD);
  CALL(cuModuleGetFunction, (void **, void *, const char *), &function, module, "add");
  double start = now();
  printf("%s, %d multiprocessors, took %lu MiB, start=%.2f\n", name, multiprocessors, mib, start);
  launch(function, vectors);
  for (double begin; (begin = now()) < start + seconds;) {
    for (; now() < begin + busy * PERIOD; ++rounds) launch(function, vectors);
    double rest = begin + PERIOD - now();
    if (busy < 1 && rest > 0) usleep(rest * 1e6);
  }
  verify(vectors[2]);
  printf("%s start=%.2f end=%.2f rounds=%lu Test PASSED\n", name, start, now(), rounds);
  return 0;
}
