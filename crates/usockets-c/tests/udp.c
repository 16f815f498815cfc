/* UDP: bursts, the sizes there are, addresses, and everything that a packet carries. */

#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static struct us_loop_t *loop;
static struct us_udp_packet_buffer_t *server_buf, *send_buf, *out;
static struct us_udp_socket_t *server, *client;
static int server_got, client_got, drains;

enum { BURST = 40 };
static const int LENGTHS[] = {0, 1, 1400, 9000, 65507};
enum { SIZES = 5 };

static struct sockaddr_in to(struct us_udp_socket_t *s) {
    struct sockaddr_in peer;
    memset(&peer, 0, sizeof peer);
    peer.sin_family = AF_INET;
    peer.sin_port = htons((unsigned short)us_udp_socket_bound_port(s));
    CHECK(inet_pton(AF_INET, address, &peer.sin_addr) == 1);
    return peer;
}

static void on_drain(struct us_udp_socket_t *s) {
    (void)s;
    drains++;
}

/* Answers each packet with its number, a colon, and what it said. */
static void server_data(struct us_udp_socket_t *s, struct us_udp_packet_buffer_t *buf, int packets) {
    CHECK(s == server && buf == server_buf && us_udp_socket_user(s) == &server_got);
    CHECK(packets >= 1 && packets <= 1024);
    for (int i = 0; i < packets; i++) {
        int length = us_udp_packet_buffer_payload_length(buf, i);
        char *payload = us_udp_packet_buffer_payload(buf, i);
        struct sockaddr_in *peer = (struct sockaddr_in *)us_udp_packet_buffer_peer(buf, i);
        char ip[16];
        CHECK(length >= 0 && payload);
        CHECK(peer->sin_family == AF_INET && ntohs(peer->sin_port) == us_udp_socket_bound_port(client));
        struct in_addr ours;
        CHECK(inet_pton(AF_INET, address, &ours) == 1);
        CHECK(us_udp_packet_buffer_local_ip(buf, i, ip) == 4 && !memcmp(ip, &ours, 4));
        CHECK(us_udp_packet_buffer_ecn(buf, i) == 0);
        us_udp_buffer_set_packet_payload(send_buf, 0, 0, (char[]){"re:"}, 3, peer);
        int fits = length > 60000 ? 60000 : length;
        us_udp_buffer_set_packet_payload(send_buf, 0, 3, payload, fits, peer);
        CHECK(us_udp_packet_buffer_payload_length(send_buf, 0) == 3 + fits);
        CHECK(us_udp_socket_send(s, send_buf, 1) == 1);
        server_got++;
    }
}

static void client_data(struct us_udp_socket_t *s, struct us_udp_packet_buffer_t *buf, int packets) {
    CHECK(s == client);
    for (int i = 0; i < packets; i++) {
        CHECK(!memcmp(us_udp_packet_buffer_payload(buf, i), "re:", 3));
        CHECK(us_udp_packet_buffer_payload_length(buf, i) >= 3);
        client_got++;
    }
    if (client_got == BURST + SIZES) {
        us_udp_socket_close(client);
        us_udp_socket_close(client);
        us_udp_socket_close(server);
    }
}

static void a_burst(void) {
    loop = new_loop();
    server_buf = us_create_udp_packet_buffer();
    send_buf = us_create_udp_packet_buffer();
    CHECK(server_buf && send_buf);
    server = us_create_udp_socket(loop, server_buf, server_data, on_drain, address, 0, &server_got);
    client = us_create_udp_socket(loop, NULL, client_data, on_drain, address, 0, NULL);
    CHECK(server && client && us_udp_socket_bound_port(server) > 0);
    out = us_create_udp_packet_buffer();
    struct sockaddr_in peer = to(server);
    for (int i = 0; i < BURST; i++) {
        char text[32];
        int length = snprintf(text, sizeof text, "packet %d", i);
        us_udp_buffer_set_packet_payload(out, i, 0, text, length, &peer);
    }
    CHECK(us_udp_socket_send(client, out, BURST) == BURST);
    char *large = (char *)calloc(65507, 1);
    for (int i = 0; i < SIZES; i++) {
        us_udp_buffer_set_packet_payload(out, i, 0, large, LENGTHS[i], &peer);
        CHECK(us_udp_packet_buffer_payload_length(out, i) == LENGTHS[i]);
    }
    CHECK(us_udp_socket_send(client, out, SIZES) == SIZES);
    /* What is no packet is none. */
    us_udp_buffer_set_packet_payload(out, 1024, 0, large, 1, &peer);
    us_udp_buffer_set_packet_payload(out, -1, 0, large, 1, &peer);
    us_udp_buffer_set_packet_payload(out, 0, 65000, large, 1000, &peer);
    CHECK(us_udp_packet_buffer_payload_length(out, 0) == LENGTHS[0]);
    CHECK(!us_udp_packet_buffer_payload(out, 1024) && !us_udp_packet_buffer_peer(out, -1));
    us_loop_run(loop);
    CHECK(server_got == BURST + SIZES && client_got == BURST + SIZES);
    CHECK(us_udp_socket_bound_port(server) == -1 && us_udp_socket_send(server, out, 1) == -1);
    CHECK(us_udp_socket_receive(server, out) == -1 && us_udp_socket_bind(server, address, 0) == -1);
    us_loop_free(loop);
    free(large);
}

static struct us_udp_socket_t *plain;

static void timer_receives(struct us_timer_t *t) {
    int packets = us_udp_socket_receive(plain, server_buf);
    if (packets == -1) {
        return;
    }
    CHECK(packets == 1 && us_udp_packet_buffer_payload_length(server_buf, 0) == 5);
    CHECK(us_udp_socket_receive(plain, server_buf) == -1);
    us_udp_socket_close(plain);
    us_timer_close(t);
}

/* Without a callback the program receives when it wants to; and a socket can be bound anew. */
static void received_by_hand(void) {
    loop = new_loop();
    plain = us_create_udp_socket(loop, NULL, NULL, NULL, address, 0, NULL);
    CHECK(plain && us_udp_socket_receive(plain, server_buf) == -1);
    int before = us_udp_socket_bound_port(plain);
    CHECK(us_udp_socket_bind(plain, "no such host", 0) == -1 && us_udp_socket_bind(plain, address, 70000) == -1);
    CHECK(us_udp_socket_bound_port(plain) == before);
    CHECK(us_udp_socket_bind(plain, address, 0) == 0 && us_udp_socket_bound_port(plain) > 0);
    struct sockaddr_in peer = to(plain);
    us_udp_buffer_set_packet_payload(send_buf, 0, 0, (char[]){"hello"}, 5, &peer);
    CHECK(us_udp_socket_send(plain, send_buf, 1) == 1);
    us_timer_set(us_create_timer(loop, 0, 0), timer_receives, 1, 1);
    us_loop_run(loop);
    us_loop_free(loop);
}

static void null_is_nobody(void) {
    CHECK(!us_create_udp_socket(NULL, NULL, NULL, NULL, NULL, 0, NULL));
    CHECK(us_udp_socket_send(NULL, NULL, 1) == -1 && us_udp_socket_receive(NULL, NULL) == -1);
    CHECK(us_udp_socket_bound_port(NULL) == -1 && !us_udp_socket_user(NULL));
    us_udp_socket_close(NULL);
    us_udp_buffer_set_packet_payload(NULL, 0, 0, NULL, 0, NULL);
    CHECK(!us_udp_packet_buffer_payload(NULL, 0) && !us_udp_packet_buffer_peer(NULL, 0));
    loop = new_loop();
    CHECK(!us_create_udp_socket(loop, send_buf, NULL, NULL, "203.0.113.77", 0, NULL));
    us_loop_free(loop);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    a_burst();
    received_by_hand();
    null_is_nobody();
    return 0;
}
