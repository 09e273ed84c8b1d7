// Sockets, for those who serve a disk and for those who use one.
#define _GNU_SOURCE
#include "CSys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { waiting = 16 };

static int failed(int fd) {
  int error = errno;
  if (fd >= 0) close(fd);
  return -error;
}

static int address(const char *path, struct sockaddr_un *name) {
  size_t length = strlen(path);
  if (length == 0 || length >= sizeof name->sun_path) return -ENAMETOOLONG;
  memset(name, 0, sizeof *name);
  name->sun_family = AF_UNIX;
  memcpy(name->sun_path, path, length);
  return 0;
}

int csys_listen_unix(const char *path) {
  struct sockaddr_un name;
  int error = address(path, &name);
  if (error < 0) return error;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  // The file that bind makes has the mode of the socket: nobody else can connect, not even for a moment.
  if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&name, sizeof name) < 0) return failed(fd);
  if (listen(fd, waiting) < 0) {
    int result = failed(fd);
    unlink(path);
    return result;
  }
  return fd;
}

int csys_listen_loopback(int port, int *bound) {
  if (port < 0 || port > 65535) return -EINVAL;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  socklen_t length = sizeof name;
  if (bind(fd, (struct sockaddr *)&name, sizeof name) < 0 || listen(fd, waiting) < 0 ||
      getsockname(fd, (struct sockaddr *)&name, &length) < 0)
    return failed(fd);
  *bound = ntohs(name.sin_port);
  return fd;
}

int csys_accept(int fd) {
  for (;;) {
    int other = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (other >= 0) {
      // Small answers are not kept back; a socket of files does not know the option.
      int yes = 1;
      setsockopt(other, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      return other;
    }
    if (errno != EINTR && errno != ECONNABORTED) return -errno;
  }
}

// Connects within so many milliseconds, and leaves the socket so that nothing is sent for longer than that either.
static int connected(int fd, const struct sockaddr *name, socklen_t length, int timeout) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return failed(fd);
  if (connect(fd, name, length) < 0) {
    // A socket of files whose server has a queue of clients says EAGAIN.
    if (errno != EINPROGRESS && errno != EINTR) return failed(fd);
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int ready = poll(&wait, 1, timeout);
    int error = ready == 0 ? ETIMEDOUT : ready < 0 ? errno : 0;
    socklen_t size = sizeof error;
    if (error == 0) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      close(fd);
      return -error;
    }
  }
  struct timeval limit = {.tv_sec = timeout / 1000, .tv_usec = timeout % 1000 * 1000};
  int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (fcntl(fd, F_SETFL, flags) < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
    return failed(fd);
  return fd;
}

int csys_connect_unix(const char *path, int timeout) {
  struct sockaddr_un name;
  int error = address(path, &name);
  if (error < 0) return error;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  return connected(fd, (struct sockaddr *)&name, sizeof name, timeout);
}

int csys_connect_internet(const char *host, int port, int timeout) {
  if (port < 1 || port > 65535) return -EINVAL;
  char service[8];
  snprintf(service, sizeof service, "%d", port);
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  struct addrinfo *found = NULL;
  // A number needs nobody who knows names.
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  if (getaddrinfo(host, service, &hints, &found) != 0) {
    hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
    if (getaddrinfo(host, service, &hints, &found) != 0) return -EADDRNOTAVAIL;
  }
  int result = -EADDRNOTAVAIL;
  for (struct addrinfo *next = found; next != NULL && result < 0; next = next->ai_next) {
    int fd = socket(next->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    result = fd < 0 ? -errno : connected(fd, next->ai_addr, next->ai_addrlen, timeout);
  }
  freeaddrinfo(found);
  return result;
}

int64_t csys_receive(int fd, void *bytes, size_t count, int timeout) {
  for (;;) {
    if (timeout >= 0) {
      struct pollfd wait = {.fd = fd, .events = POLLIN};
      int ready = poll(&wait, 1, timeout);
      if (ready < 0 && errno == EINTR) continue;
      if (ready < 0) return -errno;
      if (ready == 0) return -EAGAIN;
    }
    ssize_t got = recv(fd, bytes, count, timeout >= 0 ? MSG_DONTWAIT : 0);
    if (got >= 0) return got;
    if (errno == EINTR) continue;
    if (errno == EAGAIN && timeout > 0) continue;
    return -errno;
  }
}

int csys_send(int fd, const void *bytes, size_t count) {
  const char *next = bytes;
  while (count > 0) {
    ssize_t sent = send(fd, next, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return -errno;
    next += sent;
    count -= (size_t)sent;
  }
  return 0;
}
