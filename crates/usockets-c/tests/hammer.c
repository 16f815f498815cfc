/* Thousands of connections to ourselves, with something at random done in every callback: closing, adopting, shutting down,
 * writing more than there is room for, pausing, timing out. Every connection that opens must close, once, on both ends, with
 * its extension intact wherever it has been; and the loop must end. */

#include "test.h"

#ifdef TLS
enum { CONNECTIONS = 400, AT_ONCE = 20, LONG = 1 << 18 };
#else
enum { CONNECTIONS = 1000, AT_ONCE = 20, LONG = 1 << 20 };
#endif

#ifdef TLS
enum { SSL = 1 };
#else
enum { SSL = 0 };
#endif

static struct us_loop_t *loop;
static struct us_socket_context_t *small, *large;
static struct us_listen_socket_t *listener;
static char *bytes;
static int dialled, opened[2], closed[2], failed, port;
static unsigned long seed = 1;

/* Not the library's random numbers: the same every time. */
static unsigned int chance(unsigned int n) {
    seed = seed * 6364136223846793005ul + 1442695040888963407ul;
    return (unsigned int)(seed >> 33) % n;
}

static const double MARK = 14.5;

struct beginning {
    double before;
    int is_client, is_large, is_closed;
    double after;
};

struct small {
    struct beginning begins_with;
    char content[100];
};

struct large {
    struct beginning begins_with;
    char content[1000];
};

static void check(struct us_socket_t *s) {
    struct beginning *ext = (struct beginning *)us_socket_ext(SSL, s);
    CHECK(ext->before == MARK && ext->after == MARK);
    CHECK(ext->is_large == (us_socket_context(SSL, s) == large));
    CHECK(ext->is_closed == us_socket_is_closed(SSL, s));
    memset(ext + 1, ext->is_large, ext->is_large ? sizeof(struct large) - sizeof *ext : sizeof(struct small) - sizeof *ext);
}

static void dial(void) {
    if (dialled < CONNECTIONS) {
        dialled++;
        CHECK(us_socket_context_connect(SSL, small, address, port, NULL, 0, sizeof(struct small)));
    }
}

static struct us_socket_t *something(struct us_socket_t *s) {
    check(s);
    switch (chance(12)) {
    case 0:
    case 1:
        return us_socket_close(SSL, s, 0, NULL);
    case 2:
    case 3:
        if (!us_socket_is_closed(SSL, s)) {
            int to_large = (int)chance(2);
            s = us_socket_context_adopt_socket(SSL, to_large ? large : small, s,
                to_large ? sizeof(struct large) : sizeof(struct small));
            ((struct beginning *)us_socket_ext(SSL, s))->is_large = to_large;
            check(s);
        }
        return something(s);
    case 4:
    case 5:
        us_socket_write(SSL, s, bytes, (int)chance(LONG), (int)chance(2));
        break;
    case 6:
        us_socket_write2(SSL, s, bytes, (int)chance(100), bytes, (int)chance(10000));
        us_socket_flush(SSL, s);
        break;
    case 7:
        us_socket_shutdown(SSL, s);
        break;
    case 8:
        us_socket_shutdown_read(SSL, s);
        break;
    case 9:
        /* Paused for ever, if nothing else happens: a timeout sees to that. */
        us_poll_change((struct us_poll_t *)s, loop, us_poll_events((struct us_poll_t *)s) & LIBUS_SOCKET_WRITABLE);
        break;
    case 10:
        us_poll_change((struct us_poll_t *)s, loop, LIBUS_SOCKET_READABLE | LIBUS_SOCKET_WRITABLE);
        break;
    case 11:
        us_wakeup_loop(loop);
        break;
    }
    us_socket_timeout(SSL, s, 4);
    us_socket_long_timeout(SSL, s, 1);
    return s;
}

static struct us_socket_t *on_open(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    CHECK(is_client ? !ip && !ip_length : ip && ip_length == 4);
    struct beginning *ext = (struct beginning *)us_socket_ext(SSL, s);
    *ext = (struct beginning){.before = MARK, .is_client = is_client, .after = MARK};
    opened[is_client]++;
    if (is_client) {
        dial();
    }
    us_socket_timeout(SSL, s, 4);
    return something(s);
}

static struct us_socket_t *on_close(struct us_socket_t *s, int code, void *reason) {
    struct beginning *ext = (struct beginning *)us_socket_ext(SSL, s);
    CHECK(code == 0 && !reason && !ext->is_closed);
    ext->is_closed = 1;
    closed[ext->is_client]++;
    if (closed[0] + closed[1] == 2 * CONNECTIONS) {
        us_listen_socket_close(SSL, listener);
    }
    return something(s);
}

static struct us_socket_t *on_data(struct us_socket_t *s, char *data, int length) {
    CHECK(length > 0 && length <= LIBUS_RECV_BUFFER_LENGTH);
    memset(data - LIBUS_RECV_BUFFER_PADDING, 1, (size_t)length + 2 * LIBUS_RECV_BUFFER_PADDING);
    return something(s);
}

static struct us_socket_t *on_end(struct us_socket_t *s) {
    check(s);
    return something(us_socket_close(SSL, s, 0, NULL));
}

static struct us_socket_t *on_timeout(struct us_socket_t *s) {
    check(s);
    if (chance(4) || us_socket_is_shut_down(SSL, s)) {
        return us_socket_close(SSL, s, 0, NULL);
    }
    return something(s);
}

static struct us_socket_t *on_connect_error(struct us_socket_t *s, int code) {
    CHECK(code == 0);
    failed++;
    return s;
}

static struct us_socket_t *never(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)is_client, (void)ip, (void)ip_length;
    CHECK(!"adopting opens nothing");
    return s;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    bytes = (char *)calloc(LONG, 1);
    loop = new_loop();
    struct us_socket_context_options_t options;
    char key[512], certificate[512];
    memset(&options, 0, sizeof options);
    if (SSL) {
        snprintf(key, sizeof key, "%s/server.key", getenv("CERTIFICATES"));
        snprintf(certificate, sizeof certificate, "%s/server.pem", getenv("CERTIFICATES"));
        options.key_file_name = key;
        options.cert_file_name = certificate;
    }
    small = us_create_socket_context(SSL, loop, 0, options);
    CHECK(small);
    large = us_create_child_socket_context(SSL, small, 0);
    struct us_socket_context_t *both[] = {small, large};
    for (int i = 0; i < 2; i++) {
        us_socket_context_on_open(SSL, both[i], i ? never : on_open);
        us_socket_context_on_close(SSL, both[i], on_close);
        us_socket_context_on_data(SSL, both[i], on_data);
        us_socket_context_on_writable(SSL, both[i], something);
        us_socket_context_on_end(SSL, both[i], on_end);
        us_socket_context_on_timeout(SSL, both[i], on_timeout);
        us_socket_context_on_long_timeout(SSL, both[i], on_timeout);
        us_socket_context_on_connect_error(SSL, both[i], on_connect_error);
    }
    listener = us_socket_context_listen(SSL, small, address, 0, 0, sizeof(struct small));
    CHECK(listener);
    port = us_socket_local_port(SSL, (struct us_socket_t *)listener);
    for (int i = 0; i < AT_ONCE; i++) {
        dial();
    }
    us_loop_run(loop);
    CHECK(failed == 0);
    CHECK(opened[0] == CONNECTIONS && opened[1] == CONNECTIONS);
    CHECK(closed[0] == CONNECTIONS && closed[1] == CONNECTIONS);
    us_socket_context_free(SSL, large);
    us_socket_context_free(SSL, small);
    us_loop_free(loop);
    free(bytes);
    return 0;
}
