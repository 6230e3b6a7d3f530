/*
 * Simulated nvidia-smi, linked statically with the simulated library, so that it runs in any image.
 * Covers -L, --query-gpu and --query-compute-apps with --format=csv, pmon, -pl, -pm, -i and the exit codes of the nvidia-smi(1) manual page:
 *   0 ok   2 bad argument   3 not supported   4 no permission   6 not found
 *   9 driver not loaded   15 GPU fell off the bus   255 other
 * Texts of "not a valid field" and "No devices were found" are those of driver 580; others are not compared.
 */
#include "nvml.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_GPUS 16
#define MAX_FIELDS 64
#define MAX_PROCESSES 1024
#define TERMINATING "Terminating early due to previous errors.\n"

struct board { device_t device; unsigned index; int lost; char uuid[96], bus_id[32]; };

static int exit_code(result_t r) { return r >= 0 && r <= 15 && r != NVML_UNINITIALIZED ? r : 255; }

/* ---- query fields ---- */
typedef result_t reader_t(const struct board *, char *, size_t);

static result_t text(char *out, size_t size, const char *value) {
  snprintf(out, size, "%s", value);
  return NVML_SUCCESS;
}

static result_t number(char *out, size_t size, result_t r, unsigned long long value) {
  snprintf(out, size, "%llu", value);
  return r;
}

static result_t watts(char *out, size_t size, result_t r, unsigned mw) {
  snprintf(out, size, "%u.%02u", mw / 1000, mw % 1000 / 10);
  return r;
}

static result_t read_index(const struct board *b, char *out, size_t size) { return number(out, size, 0, b->index); }
static result_t read_uuid(const struct board *b, char *out, size_t size) { return text(out, size, b->uuid); }
static result_t read_bus_id(const struct board *b, char *out, size_t size) { return text(out, size, b->bus_id); }
static result_t read_name(const struct board *b, char *out, size_t size) { return nvmlDeviceGetName(b->device, out, size); }
static result_t read_power_management(const struct board *b, char *out, size_t size) { (void)b; return text(out, size, "Enabled"); }

static result_t read_driver_version(const struct board *b, char *out, size_t size) {
  (void)b;
  return nvmlSystemGetDriverVersion(out, size);
}

#define READ_WATTS(name, getter) \
  static result_t name(const struct board *b, char *out, size_t size) { \
    unsigned mw = 0; \
    result_t r = getter(b->device, &mw); \
    return watts(out, size, r, mw); \
  }
READ_WATTS(read_power_draw, nvmlDeviceGetPowerUsage)
READ_WATTS(read_power_limit, nvmlDeviceGetPowerManagementLimit)
READ_WATTS(read_enforced_limit, nvmlDeviceGetEnforcedPowerLimit)
READ_WATTS(read_default_limit, nvmlDeviceGetPowerManagementDefaultLimit)

static result_t read_min_limit(const struct board *b, char *out, size_t size) {
  unsigned min = 0, max = 0;
  result_t r = nvmlDeviceGetPowerManagementLimitConstraints(b->device, &min, &max);
  return watts(out, size, r, min);
}

static result_t read_max_limit(const struct board *b, char *out, size_t size) {
  unsigned min = 0, max = 0;
  result_t r = nvmlDeviceGetPowerManagementLimitConstraints(b->device, &min, &max);
  return watts(out, size, r, max);
}

static result_t read_persistence(const struct board *b, char *out, size_t size) {
  unsigned on = 0;
  result_t r = nvmlDeviceGetPersistenceMode(b->device, &on);
  text(out, size, on ? "Enabled" : "Disabled");
  return r;
}

/* The software power cap holds the clocks down exactly while the card would draw its limit. */
static result_t read_sw_power_cap(const struct board *b, char *out, size_t size) {
  unsigned draw = 0, limit = 0;
  result_t r = nvmlDeviceGetPowerUsage(b->device, &draw);
  if (!r) r = nvmlDeviceGetEnforcedPowerLimit(b->device, &limit);
  text(out, size, draw >= limit ? "Active" : "Not Active");
  return r;
}

/* Bits of nvmlClocksEventReasons: 1 GPU idle, 4 software power cap. */
static result_t read_event_reasons(const struct board *b, char *out, size_t size) {
  char cap[16] = "";
  utilization_t u = {0, 0};
  result_t r = read_sw_power_cap(b, cap, sizeof cap);
  if (!r) r = nvmlDeviceGetUtilizationRates(b->device, &u);
  snprintf(out, size, "0x%016x", (strcmp(cap, "Active") ? 0 : 4) | (u.gpu ? 0 : 1));
  return r;
}

static result_t read_utilization(const struct board *b, char *out, size_t size) {
  utilization_t u = {0, 0};
  result_t r = nvmlDeviceGetUtilizationRates(b->device, &u);
  return number(out, size, r, u.gpu);
}

static result_t read_temperature(const struct board *b, char *out, size_t size) {
  unsigned celsius = 0;
  result_t r = nvmlDeviceGetTemperature(b->device, 0, &celsius);
  return number(out, size, r, celsius);
}

#define READ_MEMORY(name, member) \
  static result_t name(const struct board *b, char *out, size_t size) { \
    memory_t m = {0, 0, 0}; \
    result_t r = nvmlDeviceGetMemoryInfo(b->device, &m); \
    return number(out, size, r, m.member >> 20); \
  }
READ_MEMORY(read_memory_total, total)
READ_MEMORY(read_memory_used, used)
READ_MEMORY(read_memory_free, free)

static result_t read_mig_mode(const struct board *b, char *out, size_t size) {
  unsigned current = 0, pending = 0;
  result_t r = nvmlDeviceGetMigMode(b->device, &current, &pending);
  return r ? r : text(out, size, current ? "Enabled" : "Disabled");
}

static const struct field { const char *name, *unit; reader_t *read; } fields[] = {
  {"index", "", read_index},
  {"uuid", "", read_uuid},
  {"gpu_uuid", "", read_uuid},
  {"name", "", read_name},
  {"gpu_name", "", read_name},
  {"pci.bus_id", "", read_bus_id},
  {"gpu_bus_id", "", read_bus_id},
  {"driver_version", "", read_driver_version},
  {"persistence_mode", "", read_persistence},
  {"power.management", "", read_power_management},
  {"power.draw", "W", read_power_draw},
  {"power.limit", "W", read_power_limit},
  {"enforced.power.limit", "W", read_enforced_limit},
  {"power.default_limit", "W", read_default_limit},
  {"power.min_limit", "W", read_min_limit},
  {"power.max_limit", "W", read_max_limit},
  {"clocks_event_reasons.sw_power_cap", "", read_sw_power_cap},
  {"clocks_throttle_reasons.sw_power_cap", "", read_sw_power_cap},
  {"clocks_event_reasons.active", "", read_event_reasons},
  {"clocks_throttle_reasons.active", "", read_event_reasons},
  {"utilization.gpu", "%", read_utilization},
  {"temperature.gpu", "", read_temperature},
  {"mig.mode.current", "", read_mig_mode},
  {"memory.total", "MiB", read_memory_total},
  {"memory.used", "MiB", read_memory_used},
  {"memory.free", "MiB", read_memory_free},
};

static const struct field *find_field(const char *name) {
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    if (!strcmp(name, fields[i].name)) return &fields[i];
  return NULL;
}

/* ---- verbs: each returns the exit code ---- */
static int query(struct board **boards, int count, const char *names, const char *format) {
  const struct field *chosen[MAX_FIELDS];
  char list[2048];
  int chosen_count = 0, code = 0;
  if (!format || strncmp(format, "csv", 3)) return puts("\"--query-gpu=\" requires \"--format=csv\"."), 2;
  int units = !strstr(format, "nounits");
  snprintf(list, sizeof list, "%s", names);
  for (char *name = strtok(list, ", "); name && chosen_count < MAX_FIELDS; name = strtok(NULL, ", ")) {
    if (!(chosen[chosen_count++] = find_field(name))) return printf("Field \"%s\" is not a valid field to query.\n\n", name), 2;
  }
  if (!strstr(format, "noheader"))
    for (int j = 0; j < chosen_count; j++) {
      const char *unit = chosen[j]->unit;
      printf("%s%s%s%s%s", chosen[j]->name, *unit ? " [" : "", unit, *unit ? "]" : "", j + 1 < chosen_count ? ", " : "\n");
    }
  for (int i = 0; i < count; i++)
    for (int j = 0; j < chosen_count; j++) {
      char value[128] = "";
      result_t r = chosen[j]->read(boards[i], value, sizeof value);
      if (r == NVML_NOT_SUPPORTED) fputs("[N/A]", stdout);
      else if (r) printf("[%s]", nvmlErrorString(r)), code = exit_code(r);
      else printf("%s%s%s", value, units && *chosen[j]->unit ? " " : "", units ? chosen[j]->unit : "");
      fputs(j + 1 < chosen_count ? ", " : "\n", stdout);
    }
  return code;
}

/* The only fields that it knows are gpu_uuid, pid, used_memory, in this order. */
static int query_processes(struct board **boards, int count, const char *names, const char *format) {
  process_t found[MAX_PROCESSES];
  if (!format || strncmp(format, "csv", 3)) return puts("\"--query-compute-apps=\" requires \"--format=csv\"."), 2;
  if (strcmp(names, "gpu_uuid,pid,used_memory")) return printf("Field \"%s\" is not a valid field to query.\n\n", names), 2;
  if (!strstr(format, "noheader")) puts("gpu_uuid, pid, used_gpu_memory [MiB]");
  for (int i = 0; i < count; i++) {
    unsigned n = MAX_PROCESSES;
    result_t r = nvmlDeviceGetComputeRunningProcesses_v3(boards[i]->device, &n, found);
    if (r) return printf("Failed to list processes: %s\n", nvmlErrorString(r)), exit_code(r);
    for (unsigned j = 0; j < n; j++)
      printf("%s, %u, %llu%s\n", boards[i]->uuid, found[j].pid, found[j].memory >> 20, strstr(format, "nounits") ? "" : " MiB");
  }
  return 0;
}

/* In the form of driver 580: `-` is the share of a process that computes nothing, and all that an idle GPU has. */
static int monitor_processes(struct board **boards, int count) {
  process_t found[MAX_PROCESSES];
  process_share_t shares[MAX_PROCESSES];
  puts("# gpu         pid   type     sm    mem    enc    dec    jpg    ofa     fb   ccpm    command \n"
       "# Idx           #    C/G      %      %      %      %      %      %     MB     MB    name ");
  for (int i = 0; i < count && i < 4; i++) { /* the real one watches no more than four either */
    unsigned n = MAX_PROCESSES, m = MAX_PROCESSES;
    result_t r = nvmlDeviceGetComputeRunningProcesses_v3(boards[i]->device, &n, found);
    if (!r) r = nvmlDeviceGetProcessUtilization(boards[i]->device, shares, &m, 0);
    if (r) return printf("Failed to list processes: %s\n", nvmlErrorString(r)), exit_code(r);
    if (!n) printf("%5u          -     -      -      -      -      -      -      -      -      -    -              \n", boards[i]->index);
    for (unsigned j = 0; j < n; j++) {
      char sm[16] = "-", memory[16] = "-";
      for (unsigned k = 0; k < m; k++)
        if (shares[k].pid == found[j].pid)
          snprintf(sm, sizeof sm, "%u", shares[k].sm), snprintf(memory, sizeof memory, "%u", shares[k].memory);
      printf("%5u %10u     C %6s %6s      -      -      -      - %6llu      0    simulated      \n",
             boards[i]->index, found[j].pid, sm, memory, found[j].memory >> 20);
    }
  }
  return 0;
}

static int set_limit(const struct board *b, double wanted) {
  unsigned min, max, before, mw = (unsigned)(wanted * 1000 + .5), persistent = 0;
  result_t r = nvmlDeviceGetPowerManagementLimitConstraints(b->device, &min, &max);
  if (!r) r = nvmlDeviceGetPowerManagementLimit(b->device, &before);
  if (!r && (mw < min || mw > max)) {
    printf("Provided power limit %.2f W is not a valid power limit which should be between %.2f W and %.2f W for GPU %s\n" TERMINATING,
           wanted, min / 1e3, max / 1e3, b->bus_id);
    return 2;
  }
  if (!r) r = nvmlDeviceSetPowerManagementLimit(b->device, mw);
  if (r == NVML_NOT_SUPPORTED) {
    printf("Changing power management limit is not supported for GPU: %s.\nTreating as warning and moving on.\n", b->bus_id);
    return 0;
  }
  if (r) {
    printf("Failed to set power management limit for GPU %s: %s\n" TERMINATING, b->bus_id, nvmlErrorString(r));
    return exit_code(r);
  }
  printf("Power limit for GPU %s was set to %.2f W from %.2f W.\n", b->bus_id, mw / 1e3, before / 1e3);
  nvmlDeviceGetPersistenceMode(b->device, &persistent);
  if (!persistent) printf("\nWarning: persistence mode is disabled on device %s.\n", b->bus_id);
  return 0;
}

static int set_persistence(const struct board *b, unsigned on) {
  const char *word = on ? "Enabled" : "Disabled";
  unsigned before = 0;
  result_t r = nvmlDeviceGetPersistenceMode(b->device, &before);
  if (!r && before == on) return printf("Persistence mode is already %s for GPU %s.\n", word, b->bus_id), 0;
  if (!r) r = nvmlDeviceSetPersistenceMode(b->device, on);
  if (r) {
    printf("Unable to set persistence mode for GPU %s: %s\n" TERMINATING, b->bus_id, nvmlErrorString(r));
    return exit_code(r);
  }
  printf("%s persistence mode for GPU %s.\n", word, b->bus_id);
  return 0;
}

static int list(struct board **boards, int count) {
  for (int i = 0; i < count; i++) {
    char name[96] = "";
    nvmlDeviceGetName(boards[i]->device, name, sizeof name);
    printf("GPU %u: %s (UUID: %s)\n", boards[i]->index, name, boards[i]->uuid);
  }
  return 0;
}

/* ---- which GPUs ---- */
static int open_boards(struct board *boards, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    struct board *b = &boards[i];
    pci_t pci;
    *b = (struct board){.index = i};
    b->lost = nvmlDeviceGetHandleByIndex_v2(i, &b->device) == NVML_GPU_IS_LOST;
    nvmlDeviceGetUUID(b->device, b->uuid, sizeof b->uuid);
    if (!nvmlDeviceGetPciInfo_v3(b->device, &pci)) text(b->bus_id, sizeof b->bus_id, pci.bus_id);
  }
  return count;
}

static struct board *find_board(struct board *boards, int count, const char *id) {
  char *end;
  unsigned long index = strtoul(id, &end, 10);
  for (int i = 0; i < count; i++) {
    int by_index = *id && !*end && index == boards[i].index;
    if (by_index || !strcasecmp(id, boards[i].uuid) || !strcasecmp(id, boards[i].bus_id)) return &boards[i];
  }
  return NULL;
}

static int report_lost(struct board **boards, int count) {
  int code = 0;
  for (int i = 0; i < count; i++)
    if (boards[i]->lost) {
      printf("Unable to determine the device handle for GPU%u: %s: GPU is lost. Reboot the system to recover this GPU\n",
             boards[i]->index, boards[i]->bus_id);
      code = NVML_GPU_IS_LOST;
    }
  return code;
}

/* ---- command line ---- */
struct options { char *query, *processes, *format, *ids, *limit, *persistence, *count, *select; int list, help, pmon; };

static int bad_arguments(const char *argument) {
  printf("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n(argument: %s)\n", argument);
  return 2;
}

static int parse(int argc, char **argv, struct options *o) {
  const struct { const char *brief, *name; char **value; } valued[] = {
    {"-i", "--id", &o->ids},
    {"-pl", "--power-limit", &o->limit},
    {"-pm", "--persistence-mode", &o->persistence},
    {"", "--query-gpu", &o->query},
    {"", "--query-compute-apps", &o->processes},
    {"-c", "--count", &o->count},
    {"-s", "--select", &o->select},
    {"", "--format", &o->format},
  };
  o->pmon = argc > 1 && !strcmp(argv[1], "pmon");
  for (int i = 1 + o->pmon; i < argc; i++) {
    int matched = 0;
    for (size_t v = 0; v < sizeof valued / sizeof *valued && !matched; v++) {
      size_t length = strlen(valued[v].name);
      if (!strcmp(argv[i], valued[v].brief) || !strcmp(argv[i], valued[v].name)) {
        if (i + 1 == argc) return bad_arguments(argv[i]);
        *valued[v].value = argv[++i], matched = 1;
      } else if (!strncmp(argv[i], valued[v].name, length) && argv[i][length] == '=')
        *valued[v].value = argv[i] + length + 1, matched = 1;
    }
    if (matched) continue;
    if (!strcmp(argv[i], "-L") || !strcmp(argv[i], "--list-gpus")) o->list = 1;
    else if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) o->help = 1;
    else return bad_arguments(argv[i]);
  }
  return 0;
}

static int run(const struct options *o, struct board **boards, int count) {
  char *end;
  int code = report_lost(boards, count);
  if (code) return code;
  if (o->list) list(boards, count);
  if (o->limit || o->persistence) {
    double wanted = o->limit ? strtod(o->limit, &end) : 0;
    if (o->limit && (end == o->limit || *end)) return bad_arguments(o->limit);
    if (o->persistence && strcmp(o->persistence, "0") && strcmp(o->persistence, "1")) return bad_arguments(o->persistence);
    for (int i = 0; i < count && !code; i++) {
      if (o->persistence) code = set_persistence(boards[i], *o->persistence == '1');
      if (o->limit && !code) code = set_limit(boards[i], wanted);
    }
    if (!code) puts("All done.");
    return code;
  }
  if (o->pmon) {
    if (!o->count || strcmp(o->count, "1") || !o->select || strcmp(o->select, "um")) return bad_arguments("pmon without -c 1 -s um");
    return monitor_processes(boards, count);
  }
  if (o->processes) return query_processes(boards, count, o->processes, o->format);
  if (o->query) return query(boards, count, o->query, o->format);
  return o->list ? 0 : bad_arguments("nothing to do");
}

int main(int argc, char **argv) {
  struct options o = {0};
  struct board boards[MAX_GPUS], *selected[MAX_GPUS];
  unsigned found = 0;
  int count = 0, code = parse(argc, argv, &o);
  if (code) return code;
  if (o.help)
    return puts("NVIDIA System Management Interface (simulated): -L | --query-gpu=FIELDS --format=csv[,noheader][,nounits]"
                " | --query-compute-apps=gpu_uuid,pid,used_memory --format=csv[,noheader][,nounits] | pmon -c 1 -s um"
                " | -pl WATTS | -pm 0|1, each with [-i ID[,ID]]"), 0;
  result_t r = nvmlInit_v2();
  if (r == NVML_DRIVER_NOT_LOADED)
    return puts("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
                " Make sure that the latest NVIDIA driver is installed and running.\n"), r;
  if (!r) r = nvmlDeviceGetCount_v2(&found);
  if (r) return printf("Failed to initialize NVML: %s\n", nvmlErrorString(r)), exit_code(r);
  int total = open_boards(boards, found);
  if (!o.ids)
    while (count < total) selected[count] = &boards[count], count++;
  else
    for (char *id = strtok(o.ids, ","); id && count < MAX_GPUS; id = strtok(NULL, ","))
      if (!(selected[count++] = find_board(boards, total, id))) return puts("No devices were found"), 6;
  if (!count) return puts("No devices were found"), 6;
  return run(&o, selected, count);
}
