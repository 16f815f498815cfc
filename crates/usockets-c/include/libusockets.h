/* libusockets: loops, sockets with callbacks, and timers.
 *
 * The interface of uSockets, over the kernel's network or over a TCP/IP stack in user space; which one is chosen when the
 * program runs (NETHUNS_NET, us_stack_configure). A program includes this header only and links with -lusockets.
 *
 * Define LIBUS_COMPAT_2019 before including it to get the interface of 2019 instead, and nothing else of this library.
 *
 * Everything on a loop belongs to the thread that runs it; us_wakeup_loop alone may be called from others. The int that most
 * functions begin with says whether TLS is meant. It counts when a context is made; everything else knows by itself.
 * Callbacks return the socket they were given, or the one that it has become. */

#ifndef LIBUSOCKETS_H
#define LIBUSOCKETS_H

/* Most bytes that on_data is given at once. */
#define LIBUS_RECV_BUFFER_LENGTH 524288
/* Timeouts are counted in steps of so many seconds. */
#define LIBUS_TIMEOUT_GRANULARITY 4
/* So many bytes before and after received data may be written to until on_data returns. */
#define LIBUS_RECV_BUFFER_PADDING 32
/* Extension memory begins at a multiple of this. It is zeroed when it is made. */
#define LIBUS_EXT_ALIGNMENT 16

/* A descriptor. */
#ifndef LIBUS_SOCKET_DESCRIPTOR
#define LIBUS_SOCKET_DESCRIPTOR int
#endif

/* What us_poll_events and us_poll_change count in. */
#ifndef LIBUS_SOCKET_READABLE
#define LIBUS_SOCKET_READABLE 1
#endif
#ifndef LIBUS_SOCKET_WRITABLE
#define LIBUS_SOCKET_WRITABLE 4
#endif

/* Headers of 2019 to 2022 put this before every function. */
#ifdef LIBUS_COMPAT_2019
#ifndef WIN32_EXPORT
#define WIN32_EXPORT
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Options of us_socket_context_listen. */
enum {
    /* Others may listen on the port as well; connections are spread over all of them. */
    LIBUS_LISTEN_DEFAULT,
    /* Nobody else may. */
    LIBUS_LISTEN_EXCLUSIVE_PORT
};

struct us_loop_t;
struct us_socket_context_t;
struct us_socket_t;
struct us_listen_socket_t;
struct us_timer_t;
struct us_poll_t;
#ifndef LIBUS_COMPAT_2019
struct us_udp_socket_t;
struct us_udp_packet_buffer_t;
#endif

/* -------------------------------------------------------------------------------------------------------------- loops */

/* A loop with ext_size bytes of extension. wakeup_cb is called after us_wakeup_loop, pre_cb and post_cb around every
 * iteration. hint is null, or what us_stack_hint returned. Null if the network cannot be opened; why is said on stderr. */
struct us_loop_t *us_create_loop(void *hint, void (*wakeup_cb)(struct us_loop_t *loop),
    void (*pre_cb)(struct us_loop_t *loop), void (*post_cb)(struct us_loop_t *loop), unsigned int ext_size);

/* Frees the loop. Its contexts are freed before. */
void us_loop_free(struct us_loop_t *loop);

void *us_loop_ext(struct us_loop_t *loop);

/* Runs the loop until no socket, no listener and no timer or poll that counts is left. It can be run again. */
void us_loop_run(struct us_loop_t *loop);

/* Makes the loop call its wakeup_cb, once however often it is woken before that. From any thread, and before it runs. */
void us_wakeup_loop(struct us_loop_t *loop);

/* For loops of other libraries; here there is nothing to be done. */
void us_loop_integrate(struct us_loop_t *loop);

/* Iterations so far, with the one under way. */
long long us_loop_iteration_number(struct us_loop_t *loop);

/* ----------------------------------------------------------------------------------------------------------- contexts */

/* Concerns TLS only. Files are PEM; null is none. */
struct us_socket_context_options_t {
    const char *key_file_name;
    const char *cert_file_name;
    /* Of the key. */
    const char *passphrase;
    const char *dh_params_file_name;
    /* Who is trusted; without it every peer is. */
    const char *ca_file_name;
    const char *ssl_ciphers;
    int ssl_prefer_low_memory_usage;
};

/* Sockets with the same callbacks. Null if the options cannot be used; why is said on stderr. */
struct us_socket_context_t *us_create_socket_context(int ssl, struct us_loop_t *loop, int ext_size,
    struct us_socket_context_options_t options);

/* A context with the same TLS, for sockets that it adopts. */
struct us_socket_context_t *us_create_child_socket_context(int ssl, struct us_socket_context_t *context,
    int context_ext_size);

/* Frees the context. Its sockets are closed before. */
void us_socket_context_free(int ssl, struct us_socket_context_t *context);

void *us_socket_context_ext(int ssl, struct us_socket_context_t *context);
struct us_loop_t *us_socket_context_loop(int ssl, struct us_socket_context_t *context);

/* A connection stands: we opened it (is_client; there is no ip then), or accepted it. ip is the peer's address, of 4 or 16
 * bytes, until the callback returns. With TLS this is before the handshake. */
void us_socket_context_on_open(int ssl, struct us_socket_context_t *context,
    struct us_socket_t *(*on_open)(struct us_socket_t *s, int is_client, char *ip, int ip_length));

/* Bytes came, at least one. They may be changed, and so may LIBUS_RECV_BUFFER_PADDING bytes on either side. */
void us_socket_context_on_data(int ssl, struct us_socket_context_t *context,
    struct us_socket_t *(*on_data)(struct us_socket_t *s, char *data, int length));

/* There is room again after a write was cut short. */
void us_socket_context_on_writable(int ssl, struct us_socket_context_t *context,
    struct us_socket_t *(*on_writable)(struct us_socket_t *s));

/* The time of us_socket_timeout is over. */
void us_socket_context_on_timeout(int ssl, struct us_socket_context_t *context,
    struct us_socket_t *(*on_timeout)(struct us_socket_t *s));

/* The peer has ended its stream. Ours goes on until the socket is closed. Not called with TLS, nor if ours was ended before:
 * then the socket is closed. */
void us_socket_context_on_end(int ssl, struct us_socket_context_t *context,
    struct us_socket_t *(*on_end)(struct us_socket_t *s));

/* Listens on an address of this machine and a port; null is every address, 0 any free port. The extension is that of the
 * accepted sockets. Null if it cannot be. */
struct us_listen_socket_t *us_socket_context_listen(int ssl, struct us_socket_context_t *context, const char *host, int port,
    int options, int socket_ext_size);

/* Ends listening. Connections that were accepted live on. */
void us_listen_socket_close(int ssl, struct us_listen_socket_t *ls);

/* Moves an open socket to another context and resizes its extension, whose beginning is kept. The socket is where the
 * result points to from then on. No callback is called; timeouts end. A closed socket stays as it is. */
struct us_socket_t *us_socket_context_adopt_socket(int ssl, struct us_socket_context_t *context, struct us_socket_t *s,
    int ext_size);

#ifdef LIBUS_COMPAT_2019

/* As they were in 2019. A connection that fails is told of by on_open and on_close. */
#define us_socket_close us_compat2019_socket_close
#define us_socket_context_connect us_compat2019_socket_context_connect
#define us_socket_context_on_close us_compat2019_socket_context_on_close

struct us_socket_t *us_socket_close(int ssl, struct us_socket_t *s);
struct us_socket_t *us_socket_context_connect(int ssl, struct us_socket_context_t *context, const char *host, int port,
    int options, int socket_ext_size);
void us_socket_context_on_close(int ssl, struct us_socket_context_t *context,
    struct us_socket_t *(*on_close)(struct us_socket_t *s));

#else

/* A socket is closed, by us_socket_close with its code and reason, or else with 0 and null. The socket can be looked at
 * until the end of the iteration. */
void us_socket_context_on_close(int ssl, struct us_socket_context_t *context,
    struct us_socket_t *(*on_close)(struct us_socket_t *s, int code, void *reason));

/* The time of us_socket_long_timeout is over. */
void us_socket_context_on_long_timeout(int ssl, struct us_socket_context_t *context,
    struct us_socket_t *(*on_long_timeout)(struct us_socket_t *s));

/* A connection could not be opened; code is 0. The socket is gone afterwards, without on_close. */
void us_socket_context_on_connect_error(int ssl, struct us_socket_context_t *context,
    struct us_socket_t *(*on_connect_error)(struct us_socket_t *s, int code));

/* Asked before a connection is accepted: fd keeps it; with any other answer the descriptor is the program's from then on, for
 * us_adopt_accepted_socket on this or another loop. A connection on a stack of our own has no descriptor (fd is -2), and is reset
 * if it is not kept. There is no ip over a path. */
void us_socket_context_on_pre_open(int ssl, struct us_socket_context_t *context,
    LIBUS_SOCKET_DESCRIPTOR (*on_pre_open)(struct us_socket_context_t *context, LIBUS_SOCKET_DESCRIPTOR fd, char *ip,
        int ip_length));

/* Makes a connection that was accepted elsewhere a socket of this context; on_open is called before this returns. Null if fd is
 * no connection; then it is closed. */
struct us_socket_t *us_adopt_accepted_socket(int ssl, struct us_socket_context_t *context, LIBUS_SOCKET_DESCRIPTOR client_fd,
    unsigned int socket_ext_size, char *addr_ip, int addr_ip_length);

/* The same as listening and connecting, over a path of the file system. What lies there is replaced by a listener, and stays
 * when that is closed. Its sockets have no addresses. Always the kernel's, whatever network the loop is on. */
struct us_listen_socket_t *us_socket_context_listen_unix(int ssl, struct us_socket_context_t *context, const char *path,
    int options, int socket_ext_size);
struct us_socket_t *us_socket_context_connect_unix(int ssl, struct us_socket_context_t *context, const char *server_path,
    int options, int socket_ext_size);

/* Closes all listeners and sockets, with on_close for each. The context can be used again. */
void us_socket_context_close(int ssl, struct us_socket_context_t *context);

/* Begins to connect: on_open or on_connect_error follow. source_host is one of our addresses, or null. Null if the host has
 * no address, or source_host is none of ours. Names are waited for. */
struct us_socket_t *us_socket_context_connect(int ssl, struct us_socket_context_t *context, const char *host, int port,
    const char *source_host, int options, int socket_ext_size);

/* Serves a name (SNI) with options of its own; in the pattern an asterisk stands for any one label. user means something to
 * the program. Ignored if the pattern is there already. */
void us_socket_context_add_server_name(int ssl, struct us_socket_context_t *context, const char *hostname_pattern,
    struct us_socket_context_options_t options, void *user);
void us_socket_context_remove_server_name(int ssl, struct us_socket_context_t *context, const char *hostname_pattern);

/* A client asks for a name that is not served; it may be added now. */
void us_socket_context_on_server_name(int ssl, struct us_socket_context_t *context,
    void (*cb)(struct us_socket_context_t *context, const char *hostname));

/* The user of the pattern that a name fits, or that the peer's does; null if there is none. */
void *us_socket_context_find_server_name_userdata(int ssl, struct us_socket_context_t *context,
    const char *hostname_pattern);
void *us_socket_server_name_userdata(int ssl, struct us_socket_t *s);

/* Null: the TLS here is not OpenSSL. */
void *us_socket_context_get_native_handle(int ssl, struct us_socket_context_t *context);

/* The clock of the timeouts: steps of LIBUS_TIMEOUT_GRANULARITY seconds, modulo 240. */
unsigned short us_socket_context_timestamp(int ssl, struct us_socket_context_t *context);

#endif

/* ------------------------------------------------------------------------------------------------------------- sockets */

/* Writes bytes and returns how many were taken: all, or fewer if there is no room for more; then on_writable is called when
 * there is. With msg_more what does not fill a segment may wait for more. 0 if closed or shut down. */
int us_socket_write(int ssl, struct us_socket_t *s, const char *data, int length, int msg_more);

/* Sends what waits for more. */
void us_socket_flush(int ssl, struct us_socket_t *s);

/* Calls on_timeout once in so many seconds, up to LIBUS_TIMEOUT_GRANULARITY early; 0 is never, the most is 956. */
void us_socket_timeout(int ssl, struct us_socket_t *s, unsigned int seconds);

void *us_socket_ext(int ssl, struct us_socket_t *s);
struct us_socket_context_t *us_socket_context(int ssl, struct us_socket_t *s);

/* Ends our stream after what was written. */
void us_socket_shutdown(int ssl, struct us_socket_t *s);
int us_socket_is_shut_down(int ssl, struct us_socket_t *s);

/* Whether the socket is closed. Until the end of the iteration in which it was. */
int us_socket_is_closed(int ssl, struct us_socket_t *s);

/* Copies the peer's address to buf, 4 or 16 bytes. length is how many there is room for, and becomes how many there are: 0 if
 * there is no address, or not enough room. */
void us_socket_remote_address(int ssl, struct us_socket_t *s, char *buf, int *length);

#ifndef LIBUS_COMPAT_2019

/* Closes the socket: on_close is called with code and reason, as they are, before this returns what on_close did. What was
 * written is still delivered. Does nothing to a closed one. */
struct us_socket_t *us_socket_close(int ssl, struct us_socket_t *s, int code, void *reason);

/* Closes a socket that is not connected yet, without on_close. */
struct us_socket_t *us_socket_close_connecting(int ssl, struct us_socket_t *s);

/* Whether it is, or was, connected; a listener is not. */
int us_socket_is_established(int ssl, struct us_socket_t *s);

/* As us_socket_write, for two pieces. */
int us_socket_write2(int ssl, struct us_socket_t *s, const char *header, int header_length, const char *payload,
    int payload_length);

/* A buffer of LIBUS_RECV_BUFFER_LENGTH bytes to prepare a write in. It is the loop's: the same with every call. */
char *us_socket_send_buffer(int ssl, struct us_socket_t *s);

/* Calls on_long_timeout once in so many minutes, up to one early; 0 is never, the most is 239. */
void us_socket_long_timeout(int ssl, struct us_socket_t *s, unsigned int minutes);

/* Ends reading: what came before is still told, then the end. */
void us_socket_shutdown_read(int ssl, struct us_socket_t *s);

/* The descriptor, as a pointer: -1 if there is none, as on a stack of our own. Null with TLS. */
void *us_socket_get_native_handle(int ssl, struct us_socket_t *s);

/* Ports; -1 if there is none. A listener has a local one. */
int us_socket_local_port(int ssl, struct us_socket_t *s);
int us_socket_remote_port(int ssl, struct us_socket_t *s);

#endif

/* -------------------------------------------------------------------------------------------------------------- timers */

/* A timer, stopped. It keeps the loop running until it is closed, unless it falls through. */
struct us_timer_t *us_create_timer(struct us_loop_t *loop, int fallthrough, unsigned int ext_size);

void *us_timer_ext(struct us_timer_t *timer);

/* Frees the timer, also from within its callback. */
void us_timer_close(struct us_timer_t *timer);

/* Calls cb in ms milliseconds, and then every repeat_ms; with repeat_ms 0 once. With ms 0 the timer is stopped. */
void us_timer_set(struct us_timer_t *timer, void (*cb)(struct us_timer_t *t), int ms, int repeat_ms);

struct us_loop_t *us_timer_loop(struct us_timer_t *t);

/* --------------------------------------------------------------------------------------------------------------- polls */

/* A descriptor of the program's own: a pipe, a timer, the socket of another library. A poll keeps the loop running until it is
 * freed, unless it falls through. A poll of type 3 has in its extension what upstream's has: the loop, an int that says whether
 * the callback takes the loop, an int that says whether eight bytes are left unread, the callback. */
struct us_poll_t *us_create_poll(struct us_loop_t *loop, int fallthrough, unsigned int ext_size);
void us_poll_free(struct us_poll_t *p, struct us_loop_t *loop);
void us_poll_init(struct us_poll_t *p, LIBUS_SOCKET_DESCRIPTOR fd, int poll_type);
void us_poll_start(struct us_poll_t *p, struct us_loop_t *loop, int events);

/* What is polled for. A us_socket_t can be cast to a us_poll_t: without LIBUS_SOCKET_READABLE it is paused, and what it receives
 * waits; when that is back it is resumed. */
void us_poll_change(struct us_poll_t *p, struct us_loop_t *loop, int events);
void us_poll_stop(struct us_poll_t *p, struct us_loop_t *loop);
int us_poll_events(struct us_poll_t *p);

void *us_poll_ext(struct us_poll_t *p);

/* The descriptor; -1 for a socket that has none, as on a stack of our own. */
LIBUS_SOCKET_DESCRIPTOR us_poll_fd(struct us_poll_t *p);

/* Resizes the extension, whose beginning is kept. The poll is where the result points to from then on. */
struct us_poll_t *us_poll_resize(struct us_poll_t *p, struct us_loop_t *loop, unsigned int ext_size);

#ifndef LIBUS_COMPAT_2019

/* Sets what is called with the events that are so, in every iteration as long as they are. */
void us_poll_on_event(struct us_poll_t *p, void (*on_event)(struct us_poll_t *p, int events));

#endif

/* ----------------------------------------------------------------------------------------------------------------- UDP */

#ifndef LIBUS_COMPAT_2019

/* Memory for 1024 packets of up to 64 KiB, to be received or sent; numbered from 0. What is set of packets that do not exist is
 * lost. It lives as long as the process; null if there is no memory. */
struct us_udp_packet_buffer_t *us_create_udp_packet_buffer(void);

/* The payload of a packet: room for 64 KiB, of which so much is payload. */
char *us_udp_packet_buffer_payload(struct us_udp_packet_buffer_t *buf, int index);
int us_udp_packet_buffer_payload_length(struct us_udp_packet_buffer_t *buf, int index);

/* Whom a packet is from: a struct sockaddr_in or sockaddr_in6. */
char *us_udp_packet_buffer_peer(struct us_udp_packet_buffer_t *buf, int index);

/* Copies the address that a packet was sent to, 4 or 16 bytes, and returns how many; 0 if it is not known. */
int us_udp_packet_buffer_local_ip(struct us_udp_packet_buffer_t *buf, int index, char *ip);

/* The ECN bits of a packet, 0 to 3. */
int us_udp_packet_buffer_ecn(struct us_udp_packet_buffer_t *buf, int index);

/* Writes a packet to be sent: length bytes at an offset of its payload, which ends there. peer_addr is a struct sockaddr_in or
 * sockaddr_in6; null leaves the peer as it is. */
void us_udp_buffer_set_packet_payload(struct us_udp_packet_buffer_t *send_buf, int index, int offset, void *payload,
    int length, void *peer_addr);

/* A UDP socket at an address of this machine (null is every one) and a port (0 is any free one). data_cb is called with received
 * packets in buf, or in a buffer of the socket if that is null; drain_cb when there is room after fewer packets were sent than
 * asked for. It keeps the loop running until it is closed, and is freed with the loop. Null if it cannot be. */
struct us_udp_socket_t *us_create_udp_socket(struct us_loop_t *loop, struct us_udp_packet_buffer_t *buf,
    void (*data_cb)(struct us_udp_socket_t *s, struct us_udp_packet_buffer_t *buf, int packets),
    void (*drain_cb)(struct us_udp_socket_t *s), const char *host, unsigned short port, void *user);
void us_udp_socket_close(struct us_udp_socket_t *s);

/* Gives the socket another address and port. Returns 0, or -1 if that cannot be; then it keeps what it has. */
int us_udp_socket_bind(struct us_udp_socket_t *s, const char *hostname, unsigned int port);

/* Sends the first num packets, 1024 at most, each to its peer. Returns how many were taken, -1 if not even the first can be. */
int us_udp_socket_send(struct us_udp_socket_t *s, struct us_udp_packet_buffer_t *buf, int num);

/* Receives what waits, 1024 packets at most. Returns how many, -1 if there are none. */
int us_udp_socket_receive(struct us_udp_socket_t *s, struct us_udp_packet_buffer_t *buf);

int us_udp_socket_bound_port(struct us_udp_socket_t *s);
void *us_udp_socket_user(struct us_udp_socket_t *s);

#endif

/* ------------------------------------------------------------------------------------------------------------- network */

#ifndef LIBUS_COMPAT_2019

/* Loops that are made from now on are on this network: "kernel", or a port spec such as "af_xdp:eth0?ip=10.0.0.2/24" for a
 * TCP/IP stack of its own. Null or empty: what the variable NETHUNS_NET says, and without it the kernel's. Returns 0, or -1
 * if this is no text. From any thread. */
int us_stack_configure(const char *network);

/* A hint for us_create_loop: this one loop is on this network. Valid for ever. */
void *us_stack_hint(const char *network);

/* The network that a loop is on: "kernel", or its port spec. */
const char *us_transport_name(struct us_loop_t *loop);

#endif

#ifdef __cplusplus
}
#endif

#endif
