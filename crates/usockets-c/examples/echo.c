/* An echo server: sends back what it receives, and waits with reading while the peer does not read.
 *
 *   echo [PORT]
 *   NETHUNS_NET='af_xdp:eth0?ip=10.0.0.2/24' echo 7000 */

#include <libusockets.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Behind every socket: what could not be written yet. */
struct rest {
    char *bytes;
    int length;
};

static void on_loop(struct us_loop_t *loop) {
    (void)loop;
}

static void set_reading(struct us_socket_t *s, int reads) {
    struct us_poll_t *p = (struct us_poll_t *)s;
    int others = us_poll_events(p) & ~LIBUS_SOCKET_READABLE;
    us_poll_change(p, us_socket_context_loop(0, us_socket_context(0, s)), others | (reads ? LIBUS_SOCKET_READABLE : 0));
}

static struct us_socket_t *on_open(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)is_client, (void)ip, (void)ip_length;
    us_socket_timeout(0, s, 120);
    return s;
}

static struct us_socket_t *on_data(struct us_socket_t *s, char *data, int length) {
    us_socket_timeout(0, s, 120);
    int written = us_socket_write(0, s, data, length, 0);
    if (written == length) {
        return s;
    }
    struct rest *rest = (struct rest *)us_socket_ext(0, s);
    rest->length = length - written;
    rest->bytes = (char *)malloc((size_t)rest->length);
    if (!rest->bytes) {
        return us_socket_close(0, s, 0, NULL);
    }
    memcpy(rest->bytes, data + written, (size_t)rest->length);
    set_reading(s, 0);
    return s;
}

static struct us_socket_t *on_writable(struct us_socket_t *s) {
    struct rest *rest = (struct rest *)us_socket_ext(0, s);
    int written = us_socket_write(0, s, rest->bytes, rest->length, 0);
    rest->length -= written;
    memmove(rest->bytes, rest->bytes + written, (size_t)rest->length);
    if (rest->length == 0) {
        free(rest->bytes);
        rest->bytes = NULL;
        set_reading(s, 1);
    }
    return s;
}

static struct us_socket_t *on_over(struct us_socket_t *s) {
    return us_socket_close(0, s, 0, NULL);
}

static struct us_socket_t *on_close(struct us_socket_t *s, int code, void *reason) {
    (void)code, (void)reason;
    free(((struct rest *)us_socket_ext(0, s))->bytes);
    return s;
}

int main(int argc, char **argv) {
    struct us_loop_t *loop = us_create_loop(NULL, on_loop, on_loop, on_loop, 0);
    if (!loop) {
        return 1;
    }
    struct us_socket_context_options_t options;
    memset(&options, 0, sizeof options);
    struct us_socket_context_t *context = us_create_socket_context(0, loop, 0, options);
    us_socket_context_on_open(0, context, on_open);
    us_socket_context_on_data(0, context, on_data);
    us_socket_context_on_writable(0, context, on_writable);
    us_socket_context_on_end(0, context, on_over);
    us_socket_context_on_timeout(0, context, on_over);
    us_socket_context_on_close(0, context, on_close);
    struct us_listen_socket_t *listener =
        us_socket_context_listen(0, context, NULL, argc > 1 ? atoi(argv[1]) : 7000, 0, sizeof(struct rest));
    if (!listener) {
        fprintf(stderr, "cannot listen\n");
        return 1;
    }
    printf("echo on port %d (%s)\n", us_socket_local_port(0, (struct us_socket_t *)listener), us_transport_name(loop));
    fflush(stdout);
    us_loop_run(loop);
    us_socket_context_free(0, context);
    us_loop_free(loop);
    return 0;
}
