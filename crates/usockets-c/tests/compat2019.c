/* A program as they were written in 2019. */

#define LIBUS_COMPAT_2019
#include <libusockets.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

/* Not of that year, and so not in its header: a program of that year may have a function of this name. */
static int us_socket_local_port(int port) {
    return port;
}

static struct us_listen_socket_t *listener;
static int opened, closed, answers, failures;

static void on_loop(struct us_loop_t *loop) {
    (void)loop;
}

static struct us_socket_t *on_open(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)ip, (void)ip_length;
    *(int *)us_socket_ext(0, s) = is_client;
    opened++;
    if (is_client) {
        us_socket_write(0, s, "ping", 4, 0);
    }
    return s;
}

static struct us_socket_t *on_data(struct us_socket_t *s, char *data, int length) {
    if (*(int *)us_socket_ext(0, s)) {
        CHECK(length == 4 && !memcmp(data, "ping", 4));
        answers++;
        return us_socket_close(0, s);
    }
    us_socket_write(0, s, data, length, 0);
    return s;
}

static struct us_socket_t *on_writable(struct us_socket_t *s) {
    return s;
}

static struct us_socket_t *on_end(struct us_socket_t *s) {
    return us_socket_close(0, s);
}

static struct us_socket_t *on_close(struct us_socket_t *s) {
    closed++;
    CHECK(us_socket_is_closed(0, s));
    if (!*(int *)us_socket_ext(0, s)) {
        us_listen_socket_close(0, listener);
    }
    return s;
}

/* A connection that fails was told of by on_open and on_close in that year. */
static struct us_socket_t *on_failed_open(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    CHECK(is_client && !ip && !ip_length && failures++ == 0);
    return s;
}

static struct us_socket_t *on_failed_close(struct us_socket_t *s) {
    CHECK(failures++ == 1);
    return s;
}

int main(int argc, char **argv) {
    CHECK(argc == 3 && setenv("NETHUNS_NET", argv[1], 1) == 0);
    struct us_socket_context_options_t options;
    memset(&options, 0, sizeof options);
    struct us_loop_t *loop = us_create_loop(NULL, on_loop, on_loop, on_loop, 0);
    CHECK(loop);
    struct us_socket_context_t *context = us_create_socket_context(0, loop, 0, options);
    us_socket_context_on_open(0, context, on_open);
    us_socket_context_on_data(0, context, on_data);
    us_socket_context_on_writable(0, context, on_writable);
    us_socket_context_on_end(0, context, on_end);
    us_socket_context_on_timeout(0, context, on_writable);
    us_socket_context_on_close(0, context, on_close);
    int port = us_socket_local_port(23019);
    while (!(listener = us_socket_context_listen(0, context, argv[2], port, LIBUS_LISTEN_EXCLUSIVE_PORT, sizeof(int)))) {
        CHECK(++port < 24000);
    }
    CHECK(us_socket_context_connect(0, context, argv[2], port, 0, sizeof(int)));
    us_loop_run(loop);
    CHECK(opened == 2 && closed == 2 && answers == 1);

    struct us_socket_context_t *failing = us_create_socket_context(0, loop, 0, options);
    us_socket_context_on_open(0, failing, on_failed_open);
    us_socket_context_on_close(0, failing, on_failed_close);
    CHECK(us_socket_context_connect(0, failing, argv[2], 1, 0, 0));
    us_loop_run(loop);
    CHECK(failures == 2);
    us_socket_context_free(0, failing);
    us_socket_context_free(0, context);
    us_loop_free(loop);
    return 0;
}
