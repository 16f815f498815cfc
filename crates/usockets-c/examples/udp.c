/* A UDP echo server: sends every packet back to whom it came from.
 *
 *   udp [PORT] */

#include <libusockets.h>

#include <stdio.h>
#include <stdlib.h>

static void on_loop(struct us_loop_t *loop) {
    (void)loop;
}

static void on_data(struct us_udp_socket_t *s, struct us_udp_packet_buffer_t *buf, int packets) {
    /* They carry their peers, so they go back as they are. */
    us_udp_socket_send(s, buf, packets);
}

static void on_drain(struct us_udp_socket_t *s) {
    (void)s;
}

int main(int argc, char **argv) {
    struct us_loop_t *loop = us_create_loop(NULL, on_loop, on_loop, on_loop, 0);
    if (!loop) {
        return 1;
    }
    unsigned short port = (unsigned short)(argc > 1 ? atoi(argv[1]) : 7000);
    struct us_udp_socket_t *s = us_create_udp_socket(loop, NULL, on_data, on_drain, NULL, port, NULL);
    if (!s) {
        fprintf(stderr, "cannot bind\n");
        return 1;
    }
    printf("udp on port %d (%s)\n", us_udp_socket_bound_port(s), us_transport_name(loop));
    fflush(stdout);
    us_loop_run(loop);
    us_loop_free(loop);
    return 0;
}
