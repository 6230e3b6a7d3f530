/* The part of NVIDIA's management library interface that the device plugin and the simulated nvidia-smi use. */
#ifndef NVML_H
#define NVML_H

enum {
  NVML_SUCCESS = 0,
  NVML_UNINITIALIZED = 1,
  NVML_INVALID_ARGUMENT = 2,
  NVML_NOT_SUPPORTED = 3,
  NVML_NO_PERMISSION = 4,
  NVML_NOT_FOUND = 6,
  NVML_INSUFFICIENT_SIZE = 7,
  NVML_DRIVER_NOT_LOADED = 9,
  NVML_TIMEOUT = 10,
  NVML_GPU_IS_LOST = 15,
  NVML_MEMORY = 20,
  NVML_UNKNOWN = 999
};

#define NVML_EVENT_XID 0x8ULL

typedef int result_t;
typedef struct gpu *device_t;
typedef struct event_set event_set_t;
typedef struct {
  char bus_id_legacy[16];
  unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
  char bus_id[32];
} pci_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } process_t;
typedef struct { unsigned pid; unsigned long long time; unsigned sm, memory, encoder, decoder; } process_share_t;
typedef struct { device_t device; unsigned long long type, data; unsigned gpu_instance, compute_instance; } event_t;

result_t nvmlInit_v2(void);
result_t nvmlInitWithFlags(unsigned);
result_t nvmlShutdown(void);
const char *nvmlErrorString(result_t);
result_t nvmlSystemGetDriverVersion(char *, unsigned);
result_t nvmlSystemGetNVMLVersion(char *, unsigned);
result_t nvmlSystemGetCudaDriverVersion(int *);
result_t nvmlSystemGetCudaDriverVersion_v2(int *);

result_t nvmlDeviceGetCount_v2(unsigned *);
result_t nvmlDeviceGetHandleByIndex_v2(unsigned, device_t *);
result_t nvmlDeviceGetHandleByUUID(const char *, device_t *);
result_t nvmlDeviceGetMinorNumber(device_t, unsigned *);
result_t nvmlDeviceGetIndex(device_t, unsigned *);
result_t nvmlDeviceGetArchitecture(device_t, unsigned *);
result_t nvmlDeviceGetBrand(device_t, unsigned *);
result_t nvmlDeviceGetName(device_t, char *, unsigned);
result_t nvmlDeviceGetUUID(device_t, char *, unsigned);
result_t nvmlDeviceGetPciInfo_v3(device_t, pci_t *);
result_t nvmlDeviceGetCudaComputeCapability(device_t, int *, int *);
result_t nvmlDeviceGetMemoryInfo(device_t, memory_t *);
result_t nvmlDeviceGetUtilizationRates(device_t, utilization_t *);
result_t nvmlDeviceGetTemperature(device_t, unsigned, unsigned *);
result_t nvmlDeviceGetComputeRunningProcesses_v3(device_t, unsigned *, process_t *);
result_t nvmlDeviceGetProcessUtilization(device_t, process_share_t *, unsigned *, unsigned long long);
result_t nvmlDeviceGetGpuInstanceProfileInfo(device_t, unsigned, void *);
result_t nvmlDeviceIsMigDeviceHandle(device_t, unsigned *);
result_t nvmlDeviceGetMigMode(device_t, unsigned *, unsigned *);
result_t nvmlDeviceGetNvLinkState(device_t, unsigned, unsigned *);
result_t nvmlDeviceGetTopologyCommonAncestor(device_t, device_t, unsigned *);

result_t nvmlDeviceGetPowerManagementLimit(device_t, unsigned *);
result_t nvmlDeviceSetPowerManagementLimit(device_t, unsigned);
result_t nvmlDeviceGetPowerManagementLimitConstraints(device_t, unsigned *, unsigned *);
result_t nvmlDeviceGetPowerManagementDefaultLimit(device_t, unsigned *);
result_t nvmlDeviceGetEnforcedPowerLimit(device_t, unsigned *);
result_t nvmlDeviceGetPowerUsage(device_t, unsigned *);
result_t nvmlDeviceGetPersistenceMode(device_t, unsigned *);
result_t nvmlDeviceSetPersistenceMode(device_t, unsigned);

result_t nvmlEventSetCreate(event_set_t **);
result_t nvmlEventSetFree(event_set_t *);
result_t nvmlDeviceGetSupportedEventTypes(device_t, unsigned long long *);
result_t nvmlDeviceRegisterEvents(device_t, unsigned long long, event_set_t *);
result_t nvmlEventSetWait_v2(event_set_t *, event_t *, unsigned);

#endif
