/*
 * Simulated MPS: NVIDIA's control program, its server, and a CUDA program that allocates memory, by the name it is called.
 *
 *   nvidia-cuda-mps-control -f [-multiuser-server]   the daemon: log on standard output, in the form of driver 580
 *   nvidia-cuda-mps-control                          asks the daemon what standard input says, and prints the answer
 *   nvidia-cuda-mps-server                           started by the daemon, found by PATH, for the first client
 *   gpu-client MIB SECONDS [fault]                   a program on the first visible GPU; 2: out of memory, 3: its server is gone
 *
 * As the real one: limits are those of a client, fixed when it starts; get_default_device_pinned_mem_limit answers in whole
 * GiB from one on; a client that finds no daemon runs on the bare GPU; a fatal fault ends all clients of that GPU; with
 * one user's server, clients of other users are refused where the real ones wait.
 */
#include "nvml.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_GPUS 16
#define MAX_CLIENTS 64
#define TEXT 4096

struct board { char uuid[96]; unsigned long long total, limit; };
struct client { int fd; unsigned pid, uid, gpu; unsigned long long memory; };

static struct board boards[MAX_GPUS];
static unsigned board_count;
static struct client clients[MAX_CLIENTS];
static double threads = 100;
static pid_t server;
static unsigned server_user;
static int multiuser;

static unsigned find_boards(void) {
  if (nvmlInit_v2() != NVML_SUCCESS || nvmlDeviceGetCount_v2(&board_count) != NVML_SUCCESS) return 0;
  for (unsigned i = 0; i < board_count; i++) {
    device_t device;
    memory_t memory = {0, 0, 0};
    if (nvmlDeviceGetHandleByIndex_v2(i, &device) != NVML_SUCCESS) continue;
    nvmlDeviceGetUUID(device, boards[i].uuid, sizeof boards[i].uuid);
    nvmlDeviceGetMemoryInfo(device, &memory);
    boards[i].total = boards[i].limit = memory.total >> 20;
  }
  return board_count;
}

static int address(struct sockaddr_un *to) {
  const char *folder = getenv("CUDA_MPS_PIPE_DIRECTORY");
  memset(to, 0, sizeof *to);
  to->sun_family = AF_UNIX;
  return snprintf(to->sun_path, sizeof to->sun_path, "%s/control", folder ? folder : "/tmp/nvidia-mps") < (int)sizeof to->sun_path;
}

static int reach(void) {
  struct sockaddr_un to;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || !address(&to) || connect(fd, (struct sockaddr *)&to, sizeof to)) return -1;
  return fd;
}

static void log_line(const char *who, unsigned pid, const char *form, ...) {
  struct timeval now;
  char stamp[32];
  va_list values;
  gettimeofday(&now, NULL);
  strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", gmtime(&now.tv_sec));
  printf("[%s.%03ld %-7s %5u] ", stamp, (long)now.tv_usec / 1000, who, pid);
  va_start(values, form);
  vprintf(form, values);
  va_end(values);
  putchar('\n');
  fflush(stdout);
}
#define CONTROL(...) log_line("Control", (unsigned)getpid(), __VA_ARGS__)
#define SERVER(...) log_line("Server", (unsigned)server, __VA_ARGS__)

/* ---- the daemon ---- */
static void drop(struct client *c) {
  if (c->fd <= 0) return;
  close(c->fd);
  SERVER("Client process %u disconnected", c->pid);
  c->fd = 0;
}

static void server_ended(int status) {
  CONTROL("Server %d exited with status %d", (int)server, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  for (unsigned i = 0; i < MAX_CLIENTS; i++) drop(&clients[i]);
  server = 0;
}

static void start_server(unsigned user) {
  int ready[2];
  char word;
  if (pipe(ready)) return;
  server = fork();
  if (!server) {
    dup2(ready[1], 3);
    execlp("nvidia-cuda-mps-server", "nvidia-cuda-mps-server", NULL);
    _exit(1);
  }
  close(ready[1]);
  server_user = user;
  CONTROL("Starting new server %d for user %u", (int)server, user);
  if (read(ready[0], &word, 1) == 1) {
    CONTROL("NEW SERVER %d: Ready", (int)server);
    SERVER("Active Threads Percentage set to %.1f", threads);
    for (unsigned i = 0; i < board_count; i++)
      SERVER("Device pinned memory limit for device %u set to %#llx bytes", i, boards[i].limit << 20);
  } else {
    int status = 0;
    waitpid(server, &status, 0);
    server_ended(status);
  }
  close(ready[0]);
}

static unsigned long long used(unsigned gpu) {
  unsigned long long sum = 0;
  for (unsigned i = 0; i < MAX_CLIENTS; i++)
    if (clients[i].fd > 0 && clients[i].gpu == gpu) sum += clients[i].memory;
  return sum;
}

static void serve_client(int fd, char *words) {
  struct client c = {fd, 0, 0, MAX_GPUS, 0}, *place = NULL;
  char uuid[96] = "", answer[TEXT];
  if (sscanf(words, "%u %u %95s %llu", &c.pid, &c.uid, uuid, &c.memory) != 4) { close(fd); return; }
  for (unsigned i = 0; i < board_count; i++) if (!strcmp(boards[i].uuid, uuid)) c.gpu = i;
  for (unsigned i = 0; i < MAX_CLIENTS && !place; i++) if (clients[i].fd <= 0) place = &clients[i];
  CONTROL("NEW CLIENT %u from user %u: %s", c.pid, c.uid, server ? "Server already exists" : "Server is not ready, push client to pending list");
  if (!server) start_server(multiuser ? 0 : c.uid);
  if (!server || c.gpu == MAX_GPUS || !place || (!multiuser && c.uid != server_user)) {
    snprintf(answer, sizeof answer, "FAILED\n");
  } else if (c.memory > boards[c.gpu].limit || c.memory > boards[c.gpu].total - used(c.gpu)) {
    snprintf(answer, sizeof answer, "OOM %llu %llu %.0f\n", boards[c.gpu].limit, boards[c.gpu].total, threads);
  } else {
    snprintf(answer, sizeof answer, "OK %llu %llu %.0f\n", boards[c.gpu].limit, boards[c.gpu].total, threads);
    *place = c;
    SERVER("Client {PID: %u, Context ID: 0} connected", c.pid);
  }
  if (write(fd, answer, strlen(answer)) < 0 || !place || place->fd != fd) close(fd);
}

static void limit_text(char *out, size_t size, unsigned long long mib) {
  if (mib >= 1024) snprintf(out, size, "%lluG\n", mib / 1024);
  else snprintf(out, size, "%lluM\n", mib);
}

static void answer_user(int fd, char *words) {
  char command[64] = "", first[64] = "", second[64] = "", out[TEXT] = "";
  int given = sscanf(words, "%63s %63s %63s", command, first, second);
  unsigned gpu = (unsigned)atoi(first);
  CONTROL("NEW UI");
  CONTROL("Cmd:%s", words);
  if (given < 1) {
  } else if (!strcmp(command, "set_default_device_pinned_mem_limit") && given == 3 && gpu < board_count) {
    unsigned long long value = strtoull(second, NULL, 10);
    boards[gpu].limit = strchr(second, 'G') ? value * 1024 : value;
  } else if (!strcmp(command, "get_default_device_pinned_mem_limit") && gpu < board_count) {
    limit_text(out, sizeof out, boards[gpu].limit);
  } else if (!strcmp(command, "set_default_active_thread_percentage") && given == 2) {
    threads = atof(first);
    snprintf(out, sizeof out, "%.1f\n", threads);
  } else if (!strcmp(command, "get_default_active_thread_percentage")) {
    snprintf(out, sizeof out, "%.1f\n", threads);
  } else if (!strcmp(command, "get_server_list")) {
    if (server) snprintf(out, sizeof out, "%d\n", (int)server);
  } else if (!strcmp(command, "get_client_list") || !strcmp(command, "ps")) {
    size_t end = 0;
    if (*command == 'p') end += (size_t)snprintf(out, sizeof out, "PID       ID        SERVER         DEVICE                    NAMESPACE      COMMAND\n");
    for (unsigned i = 0; i < MAX_CLIENTS && end < sizeof out - 200; i++) {
      if (clients[i].fd <= 0) continue;
      if (*command == 'g') end += (size_t)snprintf(out + end, sizeof out - end, "%u\n", clients[i].pid);
      else end += (size_t)snprintf(out + end, sizeof out - end, "%-9u %-9u %-14d %-25.22s ?              gpu-client\n", clients[i].pid, i + 1, (int)server, boards[clients[i].gpu].uuid);
    }
  } else if (!strcmp(command, "quit")) {
    exit(0);
  }
  if (write(fd, out, strlen(out)) < 0) CONTROL("UI has gone");
  CONTROL("UI closed");
  close(fd);
}

static void hear(int fd) {
  char words[TEXT];
  ssize_t size = read(fd, words, sizeof words - 1);
  CONTROL("Accepting connection...");
  if (size <= 0) { close(fd); return; }
  words[size] = 0;
  words[strcspn(words, "\n")] = 0;
  if (!strncmp(words, "CLIENT ", 7)) serve_client(fd, words + 7);
  else answer_user(fd, words);
}

static void hear_client(struct client *c) {
  char words[64];
  ssize_t size = read(c->fd, words, sizeof words);
  if (size > 0 && !strncmp(words, "FAULT", 5)) {
    unsigned gpu = c->gpu;
    SERVER("Fatal exception on device %u, shared by all its clients", gpu);
    for (unsigned i = 0; i < MAX_CLIENTS; i++) if (clients[i].gpu == gpu) drop(&clients[i]);
  } else {
    drop(c);
  }
}

static int run_daemon(void) {
  struct sockaddr_un here;
  int status, door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  signal(SIGPIPE, SIG_IGN);
  if (!find_boards()) { CONTROL("Failed to start: no device"); return 1; }
  if (!address(&here) || door < 0) return 1;
  unlink(here.sun_path);
  if (bind(door, (struct sockaddr *)&here, sizeof here) || chmod(here.sun_path, 0666) || listen(door, 64)) { CONTROL("Failed to start: %s", strerror(errno)); return 1; }
  CONTROL("Starting control daemon using socket %s", here.sun_path);
  for (;;) {
    struct pollfd seen[MAX_CLIENTS + 1] = {{door, POLLIN, 0}};
    for (unsigned i = 0; i < MAX_CLIENTS; i++) seen[i + 1] = (struct pollfd){clients[i].fd > 0 ? clients[i].fd : -1, POLLIN, 0};
    poll(seen, MAX_CLIENTS + 1, 200);
    if (server && waitpid(server, &status, WNOHANG) == server) server_ended(status);
    for (unsigned i = 0; i < MAX_CLIENTS; i++)
      if (seen[i + 1].revents && clients[i].fd == seen[i + 1].fd) hear_client(&clients[i]);
    if (seen[0].revents & POLLIN) {
      int fd = accept(door, NULL, NULL);
      if (fd < 0) continue;
      fcntl(fd, F_SETFD, FD_CLOEXEC); /* else the server would hold it open */
      hear(fd);
    }
  }
}

static int run_server(void) {
  if (write(3, "r", 1) != 1) return 1;
  close(3);
  for (;;) pause();
}

static int ask(void) {
  char words[TEXT], out[TEXT];
  int fd = reach();
  ssize_t size;
  if (fd < 0) { fprintf(stderr, "Cannot find MPS control daemon process\n"); return 1; }
  if (!fgets(words, sizeof words, stdin)) return 1;
  if (write(fd, words, strlen(words)) < 0) return 1;
  while ((size = read(fd, out, sizeof out)) > 0) fwrite(out, 1, (size_t)size, stdout);
  return 0;
}

/* ---- a program ---- */
static int allocate(unsigned long long mib, int seconds, int faults) {
  char words[TEXT];
  unsigned long long limit = 0, total = 0;
  unsigned percent = 0;
  int fd = getenv("CUDA_MPS_PIPE_DIRECTORY") ? reach() : -1;
  if (!find_boards()) { puts("no GPU"); return 1; }
  if (fd < 0) {
    printf("mode=bare uuid=%s limit_mib=%llu threads_pct=100 uid=%u\n", boards[0].uuid, boards[0].total, (unsigned)getuid());
    fflush(stdout);
    sleep((unsigned)seconds);
    return 0;
  }
  snprintf(words, sizeof words, "CLIENT %u %u %s %llu\n", (unsigned)getpid(), (unsigned)getuid(), boards[0].uuid, mib);
  ssize_t size = write(fd, words, strlen(words)) < 0 ? 0 : read(fd, words, sizeof words - 1);
  words[size > 0 ? size : 0] = 0;
  if (sscanf(words, "%*s %llu %llu %u", &limit, &total, &percent) != 3) { puts("MPS client failed to connect"); return 3; }
  printf("mode=mps uuid=%s limit_mib=%llu threads_pct=%u uid=%u%s\n", boards[0].uuid, limit, percent, (unsigned)getuid(), *words == 'O' && words[1] == 'O' ? " out of memory" : "");
  fflush(stdout);
  if (words[1] == 'O') return 2;
  struct pollfd seen = {fd, POLLIN, 0};
  if (faults && write(fd, "FAULT", 5) < 0) return 1;
  if (poll(&seen, 1, seconds * 1000) > 0) { puts("its MPS server is gone"); return 3; }
  puts("done");
  return 0;
}

int main(int count, char **words) {
  const char *name = strrchr(words[0], '/') ? strrchr(words[0], '/') + 1 : words[0];
  if (!strcmp(name, "nvidia-cuda-mps-server")) return run_server();
  if (!strcmp(name, "gpu-client") && count >= 3) return allocate(strtoull(words[1], NULL, 10), atoi(words[2]), count > 3);
  if (count == 1) return ask();
  multiuser = count == 3 && !strcmp(words[2], "-multiuser-server");
  if (!strcmp(words[1], "-f") && (count == 2 || multiuser)) return run_daemon();
  fprintf(stderr, "usage: nvidia-cuda-mps-control [-f [-multiuser-server]]; gpu-client MIB SECONDS [fault]\n");
  return 1;
}
