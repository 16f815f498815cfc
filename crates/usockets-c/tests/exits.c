/* A program that ends in the middle of everything: what it had written is delivered all the same.
 *
 *   exits NETWORK ADDRESS PORT */

#include <libusockets.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MUCH = 200000 };
static char much[MUCH];
static int sent;

static void on_loop(struct us_loop_t *loop) {
    (void)loop;
}

static struct us_socket_t *send_on(struct us_socket_t *s) {
    sent += us_socket_write(0, s, much + sent, MUCH - sent, 0);
    if (sent == MUCH) {
        us_socket_close(0, s, 0, NULL);
        exit(0);
    }
    return s;
}

static struct us_socket_t *on_open(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)is_client, (void)ip, (void)ip_length;
    return send_on(s);
}

static struct us_socket_t *on_close(struct us_socket_t *s, int code, void *reason) {
    (void)code, (void)reason;
    return s;
}

int main(int argc, char **argv) {
    if (argc != 4 || us_stack_configure(argv[1])) {
        return 2;
    }
    memset(much, 'x', sizeof much);
    struct us_loop_t *loop = us_create_loop(NULL, on_loop, on_loop, on_loop, 0);
    struct us_socket_context_options_t options;
    memset(&options, 0, sizeof options);
    struct us_socket_context_t *context = us_create_socket_context(0, loop, 0, options);
    us_socket_context_on_open(0, context, on_open);
    us_socket_context_on_writable(0, context, send_on);
    us_socket_context_on_close(0, context, on_close);
    if (!us_socket_context_connect(0, context, argv[2], atoi(argv[3]), NULL, 0, 0)) {
        return 3;
    }
    us_loop_run(loop);
    return 4;
}
