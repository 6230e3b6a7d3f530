/*
 * Simulated libnvidia-ml.so.1. It drives no hardware.
 *
 * What a GPU *is* comes from a read-only text file, $GPUSIM_CONFIG (default
 * /etc/gpu-sim/gpus.conf). What can *change* about it is kept in plain files in
 * $GPUSIM_STATE/<uuid>/ (default /run/gpu-sim/<uuid>/), so that all processes of a
 * node agree and a test can change it from outside. A GPU exists for a process
 * only while its state directory does: the container runtime mounts just the
 * directories of the visible GPUs, as the real one exposes just their device nodes.
 *
 * State files (all optional; missing means the value in the configuration):
 *   power_limit      mW       enforced_power_limit  mW, what another limiter allows
 *   power_draw       mW       persistence           0|1
 *   temperature      C        utilization           percent
 *   memory_used      MiB      fail_set              NVML error code of every set call
 *   processes        one line for each: PID MEMORY_MIB SM_PERCENT
 *   lost             exists: the GPU fell off the bus
 *   xid              append-only, one Xid per line; lines written after
 *                    nvmlDeviceRegisterEvents are delivered as events
 */
#define _GNU_SOURCE
#include "nvml.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
#define MAX_GPUS 16

struct gpu {
  char name[96], uuid[80];
  unsigned domain, bus, slot, minor, pci_device_id, memory_mib;
  unsigned power_default_mw, power_min_mw, power_max_mw, power_idle_mw, temperature;
  int capability_major, capability_minor;
};
struct event_set {
  int count;
  struct { struct gpu *gpu; unsigned long long types; off_t offset; } entry[MAX_GPUS];
};

static struct gpu gpus[MAX_GPUS];
static int gpu_count, references, cuda_version;
static char driver_version[80];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *setting(const char *name, const char *fallback) {
  const char *value = secure_getenv(name);
  return value && *value ? value : fallback;
}

/* ---- state files ---- */
static void state_path(char *path, size_t size, const struct gpu *g, const char *file) {
  snprintf(path, size, "%s/%s%s%s", setting("GPUSIM_STATE", "/run/gpu-sim"), g->uuid, *file ? "/" : "", file);
}

static int state_exists(const struct gpu *g, const char *file) {
  char path[PATH_MAX];
  state_path(path, sizeof path, g, file);
  return access(path, F_OK) == 0;
}

static unsigned long long state_get(const struct gpu *g, const char *file, unsigned long long fallback) {
  char path[PATH_MAX], text[64], *end;
  state_path(path, sizeof path, g, file);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fallback;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return fallback;
  text[n] = 0;
  unsigned long long value = strtoull(text, &end, 10);
  return end == text ? fallback : value;
}

static result_t state_set(const struct gpu *g, const char *file, unsigned value) {
  char path[PATH_MAX], draft[PATH_MAX + 32];
  state_path(path, sizeof path, g, file);
  snprintf(draft, sizeof draft, "%s.%d.tmp", path, (int)getpid());
  int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return errno == EACCES || errno == EPERM || errno == EROFS ? NVML_NO_PERMISSION : NVML_UNKNOWN;
  int failed = dprintf(fd, "%u\n", value) < 0;
  failed |= close(fd) != 0;
  if (!failed && rename(draft, path) == 0) return NVML_SUCCESS;
  unlink(draft);
  return NVML_UNKNOWN;
}

/* The real driver asks capable(CAP_SYS_ADMIN), which counts in the initial user namespace only. */
static int privileged(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {{0, 0, 0}};
  if (syscall(SYS_capget, &header, data) || !(data[0].effective & (1u << CAP_SYS_ADMIN))) return 0;
  FILE *map = fopen("/proc/self/uid_map", "re");
  if (!map) return 1;
  unsigned long long inside, outside, length;
  int n = fscanf(map, "%llu %llu %llu", &inside, &outside, &length);
  fclose(map);
  return n == 3 && inside == 0 && outside == 0 && length == 4294967295ULL;
}

/* ---- configuration ---- */
static char *trim(char *text) {
  text += strspn(text, " \t");
  char *end = text + strlen(text);
  while (end > text && strchr(" \t\r\n", end[-1])) *--end = 0;
  return text;
}

static void assign(struct gpu *g, const char *key, const char *value) {
  static const struct { const char *key; size_t offset; } numbers[] = {
    {"minor", offsetof(struct gpu, minor)},
    {"pci_device_id", offsetof(struct gpu, pci_device_id)},
    {"memory_mib", offsetof(struct gpu, memory_mib)},
    {"power_default_mw", offsetof(struct gpu, power_default_mw)},
    {"power_min_mw", offsetof(struct gpu, power_min_mw)},
    {"power_max_mw", offsetof(struct gpu, power_max_mw)},
    {"power_idle_mw", offsetof(struct gpu, power_idle_mw)},
    {"temperature", offsetof(struct gpu, temperature)},
  };
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (!strcmp(key, numbers[i].key)) *(unsigned *)((char *)g + numbers[i].offset) = strtoul(value, NULL, 0);
  if (!strcmp(key, "name")) snprintf(g->name, sizeof g->name, "%s", value);
  if (!strcmp(key, "uuid")) snprintf(g->uuid, sizeof g->uuid, "%s", value);
  if (!strcmp(key, "pci_bus_id")) sscanf(value, "%x:%x:%x", &g->domain, &g->bus, &g->slot);
  if (!strcmp(key, "compute_capability")) sscanf(value, "%d.%d", &g->capability_major, &g->capability_minor);
}

static result_t load(void) {
  FILE *file = fopen(setting("GPUSIM_CONFIG", "/etc/gpu-sim/gpus.conf"), "re");
  if (!file) return NVML_DRIVER_NOT_LOADED;
  static struct gpu all[MAX_GPUS];
  char line[512];
  int described = 0;
  memset(all, 0, sizeof all);
  while (fgets(line, sizeof line, file)) {
    char *key = trim(line), *value = strchr(key, '=');
    if (!strcmp(key, "[gpu]")) {
      if (described == MAX_GPUS) break;
      described++;
    }
    if (!value) continue;
    *value++ = 0;
    key = trim(key), value = trim(value);
    if (described) assign(&all[described - 1], key, value);
    else if (!strcmp(key, "driver_version")) snprintf(driver_version, sizeof driver_version, "%s", value);
    else if (!strcmp(key, "cuda_version")) cuda_version = atoi(value);
  }
  fclose(file);
  gpu_count = 0;
  for (int i = 0; i < described; i++)
    if (*all[i].uuid && state_exists(&all[i], "")) gpus[gpu_count++] = all[i];
  return NVML_SUCCESS;
}

/* ---- library ---- */
API result_t nvmlInit_v2(void) {
  pthread_mutex_lock(&lock);
  result_t r = references ? NVML_SUCCESS : load();
  if (!r) references++;
  pthread_mutex_unlock(&lock);
  return r;
}

/* The flags only relax what init refuses; here it refuses nothing. */
API result_t nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  return nvmlInit_v2();
}

API result_t nvmlShutdown(void) {
  pthread_mutex_lock(&lock);
  result_t r = references ? NVML_SUCCESS : NVML_UNINITIALIZED;
  if (!r) references--;
  pthread_mutex_unlock(&lock);
  return r;
}

API const char *nvmlErrorString(result_t r) {
  switch (r) {
  case NVML_SUCCESS: return "Success";
  case NVML_UNINITIALIZED: return "Uninitialized";
  case NVML_INVALID_ARGUMENT: return "Invalid Argument";
  case NVML_NOT_SUPPORTED: return "Not Supported";
  case NVML_NO_PERMISSION: return "Insufficient Permissions";
  case NVML_NOT_FOUND: return "Not Found";
  case NVML_INSUFFICIENT_SIZE: return "Insufficient Size";
  case NVML_DRIVER_NOT_LOADED: return "Driver Not Loaded";
  case NVML_TIMEOUT: return "Timeout";
  case NVML_GPU_IS_LOST: return "GPU is lost";
  case NVML_MEMORY: return "Insufficient Memory";
  default: return "Unknown Error";
  }
}

static result_t copy(char *buffer, unsigned size, const char *text) {
  if (!references) return NVML_UNINITIALIZED;
  if (!buffer) return NVML_INVALID_ARGUMENT;
  if (size < strlen(text) + 1) return NVML_INSUFFICIENT_SIZE;
  strcpy(buffer, text);
  return NVML_SUCCESS;
}

API result_t nvmlSystemGetDriverVersion(char *text, unsigned size) { return copy(text, size, driver_version); }

API result_t nvmlSystemGetNVMLVersion(char *text, unsigned size) {
  char version[96];
  snprintf(version, sizeof version, "%d.%s", cuda_version / 1000, driver_version);
  return copy(text, size, version);
}

API result_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
  if (!version) return NVML_INVALID_ARGUMENT;
  *version = cuda_version;
  return NVML_SUCCESS;
}

API result_t nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

/* ---- devices ---- */
static result_t known(device_t d) {
  if (!references) return NVML_UNINITIALIZED;
  return d < gpus || d >= gpus + gpu_count ? NVML_INVALID_ARGUMENT : NVML_SUCCESS;
}

static result_t alive(device_t d) {
  result_t r = known(d);
  return r ? r : state_exists(d, "lost") ? NVML_GPU_IS_LOST : NVML_SUCCESS;
}

/* Returns from the caller unless the GPU answers and the place for the result is there. */
#define REQUIRE(device, place) \
  do { \
    if (!(place)) return NVML_INVALID_ARGUMENT; \
    result_t state_ = alive(device); \
    if (state_) return state_; \
  } while (0)

/* An API call that yields one number of a GPU. */
#define NUMBER(function, value) \
  API result_t function(device_t d, unsigned *n) { \
    REQUIRE(d, n); \
    *n = (value); \
    return NVML_SUCCESS; \
  }

API result_t nvmlDeviceGetCount_v2(unsigned *n) {
  if (!references) return NVML_UNINITIALIZED;
  if (!n) return NVML_INVALID_ARGUMENT;
  *n = gpu_count;
  return NVML_SUCCESS;
}

API result_t nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *d) {
  if (!references) return NVML_UNINITIALIZED;
  if (!d || index >= (unsigned)gpu_count) return NVML_INVALID_ARGUMENT;
  *d = &gpus[index];
  return alive(*d);
}

API result_t nvmlDeviceGetHandleByUUID(const char *uuid, device_t *d) {
  if (!references) return NVML_UNINITIALIZED;
  if (!uuid || !d) return NVML_INVALID_ARGUMENT;
  for (int i = 0; i < gpu_count; i++)
    if (!strcasecmp(gpus[i].uuid, uuid)) {
      *d = &gpus[i];
      return alive(*d);
    }
  return NVML_NOT_FOUND;
}

API result_t nvmlDeviceGetName(device_t d, char *text, unsigned size) {
  result_t r = alive(d);
  return r ? r : copy(text, size, d->name);
}

API result_t nvmlDeviceGetUUID(device_t d, char *text, unsigned size) {
  result_t r = known(d);
  return r ? r : copy(text, size, d->uuid);
}

API result_t nvmlDeviceGetPciInfo_v3(device_t d, pci_t *p) {
  result_t r = known(d);
  if (r || !p) return r ? r : NVML_INVALID_ARGUMENT;
  *p = (pci_t){.domain = d->domain, .bus = d->bus, .device = d->slot, .pci_device_id = d->pci_device_id};
  snprintf(p->bus_id_legacy, sizeof p->bus_id_legacy, "%04X:%02X:%02X.0", d->domain & 0xffff, d->bus & 0xff, d->slot & 0xff);
  snprintf(p->bus_id, sizeof p->bus_id, "%08X:%02X:%02X.0", d->domain, d->bus, d->slot);
  return NVML_SUCCESS;
}

API result_t nvmlDeviceGetCudaComputeCapability(device_t d, int *major, int *minor) {
  REQUIRE(d, major && minor);
  *major = d->capability_major, *minor = d->capability_minor;
  return NVML_SUCCESS;
}

API result_t nvmlDeviceGetMemoryInfo(device_t d, memory_t *m) {
  REQUIRE(d, m);
  m->total = (unsigned long long)d->memory_mib << 20;
  m->used = state_get(d, "memory_used", 1) << 20;
  if (m->used > m->total) m->used = m->total;
  m->free = m->total - m->used;
  return NVML_SUCCESS;
}

API result_t nvmlDeviceGetUtilizationRates(device_t d, utilization_t *u) {
  REQUIRE(d, u);
  u->gpu = state_get(d, "utilization", 0);
  u->memory = u->gpu / 2;
  return NVML_SUCCESS;
}

API result_t nvmlDeviceGetTemperature(device_t d, unsigned sensor, unsigned *celsius) {
  REQUIRE(d, celsius && sensor == 0);
  *celsius = state_get(d, "temperature", d->temperature);
  return NVML_SUCCESS;
}

/* NVML_DEVICE_ARCH_AMPERE is 7, then Ada 8, Hopper 9, Blackwell 10; NVML_DEVICE_ARCH_UNKNOWN for the rest. */
static unsigned architecture(const struct gpu *g) {
  switch (g->capability_major * 10 + g->capability_minor) {
  case 80: case 86: return 7;
  case 89: return 8;
  case 90: return 9;
  case 100: case 120: return 10;
  default: return UINT_MAX;
  }
}

NUMBER(nvmlDeviceGetMinorNumber, d->minor)
NUMBER(nvmlDeviceGetIndex, d - gpus)
NUMBER(nvmlDeviceGetArchitecture, architecture(d))
NUMBER(nvmlDeviceGetBrand, strstr(d->name, "GeForce") ? 5 : 14) /* NVML_BRAND_GEFORCE, NVML_BRAND_NVIDIA */

/* ---- processes: only those that have an id in the asker's own namespace ---- */
static FILE *processes(device_t d) {
  char path[PATH_MAX];
  state_path(path, sizeof path, d, "processes");
  return fopen(path, "re");
}

static int next_process(FILE *file, unsigned *pid, unsigned *mib, unsigned *sm) {
  char path[32];
  while (file && fscanf(file, "%u %u %u", pid, mib, sm) == 3) {
    snprintf(path, sizeof path, "/proc/%u", *pid);
    if (!access(path, F_OK)) return 1;
  }
  if (file) fclose(file);
  return 0;
}

API result_t nvmlDeviceGetComputeRunningProcesses_v3(device_t d, unsigned *n, process_t *found) {
  REQUIRE(d, n && found);
  unsigned room = *n, pid, mib, sm;
  FILE *file = processes(d);
  for (*n = 0; next_process(file, &pid, &mib, &sm); ++*n)
    if (*n < room) found[*n] = (process_t){pid, (unsigned long long)mib << 20, UINT_MAX, UINT_MAX};
  return *n > room ? NVML_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

/* One that computes nothing has no share, and is not among them. */
API result_t nvmlDeviceGetProcessUtilization(device_t d, process_share_t *found, unsigned *n, unsigned long long since) {
  (void)since;
  REQUIRE(d, n && found);
  unsigned room = *n, pid, mib, sm;
  FILE *file = processes(d);
  for (*n = 0; next_process(file, &pid, &mib, &sm);)
    if (sm && ++*n <= room) found[*n - 1] = (process_share_t){pid, 1, sm, sm / 2, 0, 0};
  return *n > room ? NVML_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

/* ---- power, in milliwatts ---- */
static unsigned requested(device_t d) { return state_get(d, "power_limit", d->power_default_mw); }

static unsigned enforced(device_t d) {
  unsigned other = state_get(d, "enforced_power_limit", UINT_MAX);
  return other < requested(d) ? other : requested(d);
}

/* A busy GPU draws in proportion to its load, and never more than its limit. */
static unsigned draw(device_t d) {
  unsigned long long load = state_get(d, "utilization", 0);
  unsigned long long wish = d->power_idle_mw + (d->power_default_mw - d->power_idle_mw) * (load > 100 ? 100 : load) / 100;
  return state_get(d, "power_draw", wish < enforced(d) ? wish : enforced(d));
}

NUMBER(nvmlDeviceGetPowerManagementLimit, requested(d))
NUMBER(nvmlDeviceGetEnforcedPowerLimit, enforced(d))
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, d->power_default_mw)
NUMBER(nvmlDeviceGetPowerUsage, draw(d))
NUMBER(nvmlDeviceGetPersistenceMode, state_get(d, "persistence", 0) ? 1 : 0)

API result_t nvmlDeviceGetPowerManagementLimitConstraints(device_t d, unsigned *min, unsigned *max) {
  REQUIRE(d, min && max);
  *min = d->power_min_mw, *max = d->power_max_mw;
  return NVML_SUCCESS;
}

static result_t set(device_t d, const char *file, unsigned value, unsigned min, unsigned max) {
  result_t r = alive(d);
  if (!r) r = state_get(d, "fail_set", NVML_SUCCESS);
  if (r) return r;
  if (!privileged()) return NVML_NO_PERMISSION;
  return value < min || value > max ? NVML_INVALID_ARGUMENT : state_set(d, file, value);
}

API result_t nvmlDeviceSetPowerManagementLimit(device_t d, unsigned mw) {
  result_t r = alive(d);
  return r ? r : set(d, "power_limit", mw, d->power_min_mw, d->power_max_mw);
}

API result_t nvmlDeviceSetPersistenceMode(device_t d, unsigned mode) { return set(d, "persistence", mode, 0, 1); }

/* ---- events ---- */
static off_t xid_size(const struct gpu *g) {
  char path[PATH_MAX];
  struct stat status;
  state_path(path, sizeof path, g, "xid");
  return stat(path, &status) ? 0 : status.st_size;
}

API result_t nvmlEventSetCreate(event_set_t **set_) {
  if (!references) return NVML_UNINITIALIZED;
  if (!set_) return NVML_INVALID_ARGUMENT;
  *set_ = calloc(1, sizeof **set_);
  return *set_ ? NVML_SUCCESS : NVML_MEMORY;
}

API result_t nvmlEventSetFree(event_set_t *set_) {
  free(set_);
  return NVML_SUCCESS;
}

API result_t nvmlDeviceGetSupportedEventTypes(device_t d, unsigned long long *types) {
  REQUIRE(d, types);
  *types = NVML_EVENT_XID;
  return NVML_SUCCESS;
}

/* The device plugin registers a GPU once per replica; the driver keeps one registration. */
API result_t nvmlDeviceRegisterEvents(device_t d, unsigned long long types, event_set_t *set_) {
  REQUIRE(d, set_);
  if (types & ~NVML_EVENT_XID) return NVML_NOT_SUPPORTED;
  for (int i = 0; i < set_->count; i++)
    if (set_->entry[i].gpu == d) {
      set_->entry[i].types |= types;
      return NVML_SUCCESS;
    }
  set_->entry[set_->count].gpu = d;
  set_->entry[set_->count].types = types;
  set_->entry[set_->count++].offset = xid_size(d);
  return NVML_SUCCESS;
}

/* The next whole line of the GPU's xid file after *offset, or 0. */
static unsigned long long next_xid(const struct gpu *g, off_t *offset) {
  char path[PATH_MAX], text[32];
  if (xid_size(g) <= *offset) return 0;
  state_path(path, sizeof path, g, "xid");
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t n = pread(fd, text, sizeof text - 1, *offset);
  close(fd);
  char *end = n > 0 ? memchr(text, '\n', n) : NULL;
  if (!end) return 0;
  *end = 0;
  *offset += end - text + 1;
  return strtoull(text, NULL, 10);
}

API result_t nvmlEventSetWait_v2(event_set_t *set_, event_t *event, unsigned timeout_ms) {
  if (!references) return NVML_UNINITIALIZED;
  if (!set_ || !event) return NVML_INVALID_ARGUMENT;
  for (unsigned waited = 0;; waited += 100) {
    int lost = 0;
    for (int i = 0; i < set_->count; i++) {
      struct gpu *g = set_->entry[i].gpu;
      unsigned long long xid = next_xid(g, &set_->entry[i].offset);
      if (xid && set_->entry[i].types & NVML_EVENT_XID) {
        *event = (event_t){g, NVML_EVENT_XID, xid, UINT_MAX, UINT_MAX};
        return NVML_SUCCESS;
      }
      lost |= state_exists(g, "lost");
    }
    if (lost && waited >= 1000) return NVML_GPU_IS_LOST; /* not at once: a caller that only retries would spin */
    if (waited >= timeout_ms) return NVML_TIMEOUT;
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
  }
}

/* ---- topology, and what a GeForce card does not have ---- */
API result_t nvmlDeviceGetTopologyCommonAncestor(device_t a, device_t b, unsigned *level) {
  REQUIRE(a, level);
  REQUIRE(b, level);
  *level = a == b ? 0 : 30; /* same board, else same host bridge */
  return NVML_SUCCESS;
}

API result_t nvmlDeviceGetMigMode(device_t d, unsigned *current, unsigned *pending) {
  REQUIRE(d, current && pending);
  return NVML_NOT_SUPPORTED;
}

API result_t nvmlDeviceGetGpuInstanceProfileInfo(device_t d, unsigned profile, void *info) {
  (void)profile;
  REQUIRE(d, info);
  return NVML_NOT_SUPPORTED;
}

API result_t nvmlDeviceIsMigDeviceHandle(device_t d, unsigned *mig) {
  REQUIRE(d, mig);
  *mig = 0;
  return NVML_SUCCESS;
}

API result_t nvmlDeviceGetNvLinkState(device_t d, unsigned link, unsigned *active) {
  (void)link;
  REQUIRE(d, active);
  return NVML_NOT_SUPPORTED;
}
