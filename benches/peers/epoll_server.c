/* A server on the kernel's network as it is written with epoll and nothing else: the peer of the server on uSockets.
 *
 *   epoll_server ADDRESS
 *
 * Port 7 sends back what comes. Port 80 gives every HTTP request, which ends with an empty line, the same short answer.
 * Requests are short and each waits for its answer, so there is always room for one: a connection where there is none
 * is closed, as the server on uSockets does too. Prints a line when it listens, and serves until it is ended. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ECHO = 7, HTTP = 80, BACKLOG = 512, EVENTS = 1024, SOCKETS = 1 << 17 };

static const char answer[] =
	"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!";

/* Of each descriptor: its port if it listens, that of its listener if not, and how much of an empty line has come. */
static struct { uint16_t port; uint8_t listens, matched; } sockets[SOCKETS];

static void check(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static void watch(int epoll, int fd, uint16_t port, int listens)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
	check(fd < SOCKETS && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
	sockets[fd].port = port;
	sockets[fd].listens = (uint8_t)listens;
	sockets[fd].matched = 0;
}

static void listen_on(int epoll, const char *address, uint16_t port)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	check(fd >= 0 && inet_pton(AF_INET, address, &name.sin_addr) == 1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	check(bind(fd, (struct sockaddr *)&name, sizeof name) == 0, "bind");
	check(listen(fd, BACKLOG) == 0, "listen");
	watch(epoll, fd, port, 1);
}

static void accept_all(int epoll, int listener)
{
	int fd, one = 1;
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		watch(epoll, fd, sockets[listener].port, 0);
	}
}

/* How many empty lines end in these bytes; one may have begun in those before. */
static int requests(uint8_t *matched, const char *bytes, ssize_t len)
{
	int count = 0;
	for (ssize_t i = 0; i < len; i++) {
		if (bytes[i] == "\r\n\r\n"[*matched])
			++*matched;
		else
			*matched = bytes[i] == '\r';
		if (*matched == 4) {
			*matched = 0;
			count++;
		}
	}
	return count;
}

static void serve(int fd)
{
	static char bytes[64 << 10];
	const ssize_t len = recv(fd, bytes, sizeof bytes, 0), once = sizeof answer - 1;
	int good = len > 0;
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (good && sockets[fd].port == ECHO)
		good = send(fd, bytes, (size_t)len, MSG_NOSIGNAL) == len;
	for (int n = good && sockets[fd].port == HTTP ? requests(&sockets[fd].matched, bytes, len) : 0; n && good; n--)
		good = send(fd, answer, (size_t)once, MSG_NOSIGNAL) == once;
	if (!good)
		close(fd);
}

int main(int argc, char **argv)
{
	static struct epoll_event events[EVENTS];
	const int epoll = epoll_create1(0);
	if (argc < 2) {
		fprintf(stderr, "usage: epoll_server ADDRESS\n");
		return 2;
	}
	check(epoll >= 0, "epoll_create1");
	listen_on(epoll, argv[1], ECHO);
	listen_on(epoll, argv[1], HTTP);
	printf("on kernel\n");
	fflush(stdout);
	for (;;) {
		const int ready = epoll_wait(epoll, events, EVENTS, -1);
		check(ready >= 0 || errno == EINTR, "epoll_wait");
		for (int i = 0; i < ready; i++) {
			const int fd = events[i].data.fd;
			if (sockets[fd].listens)
				accept_all(epoll, fd);
			else
				serve(fd);
		}
	}
}
