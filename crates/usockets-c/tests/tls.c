/* TLS: who trusts whom, names, much data, and that the order of events is the one of plain sockets. */

#include "test.h"

static struct us_loop_t *loop;
static struct us_socket_context_t *server, *client;
static struct us_listen_socket_t *listener;
static int server_opened, server_closed, client_opened, client_closed, asked, exchanged;
static void *server_user;
static size_t got;

enum { MUCH = 3 << 20 };
static char *much;
static int sent;

/* A path in the folder of certificates; null if there is no name. */
static const char *file(const char *name) {
    static char paths[8][512];
    static int next;
    if (!name) {
        return NULL;
    }
    char *path = paths[next++ % 8];
    CHECK(getenv("CERTIFICATES"));
    snprintf(path, sizeof paths[0], "%s/%s", getenv("CERTIFICATES"), name);
    return path;
}

static struct us_socket_context_options_t options(const char *name, const char *ca) {
    struct us_socket_context_options_t it;
    char key[64], certificate[64];
    memset(&it, 0, sizeof it);
    if (name) {
        snprintf(key, sizeof key, "%s.key", name);
        snprintf(certificate, sizeof certificate, "%s.pem", name);
        it.key_file_name = file(key);
        it.cert_file_name = file(certificate);
    }
    it.ca_file_name = file(ca);
    return it;
}

static struct us_socket_t *send_on(struct us_socket_t *s) {
    sent += us_socket_write(1, s, much + sent, MUCH - sent, 0);
    if (sent == MUCH) {
        us_socket_shutdown(1, s);
        CHECK(us_socket_is_shut_down(1, s));
    }
    return s;
}

static struct us_socket_t *on_open(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)ip, (void)ip_length;
    if (is_client) {
        client_opened++;
        /* Before the handshake nothing is taken, and on_writable tells when it is. */
        CHECK(us_socket_write(1, s, "early", 5, 0) == 0);
        CHECK(us_poll_events((struct us_poll_t *)s) & LIBUS_SOCKET_WRITABLE);
    } else {
        server_opened++;
    }
    return s;
}

static struct us_socket_t *on_data(struct us_socket_t *s, char *data, int length) {
    CHECK(length > 0 && length <= LIBUS_RECV_BUFFER_LENGTH);
    CHECK(got + (size_t)length <= MUCH && !memcmp(data, much + got, (size_t)length));
    memset(data - LIBUS_RECV_BUFFER_PADDING, 1, (size_t)length + 2 * LIBUS_RECV_BUFFER_PADDING);
    server_user = us_socket_server_name_userdata(1, s);
    got += (size_t)length;
    exchanged = 1;
    return s;
}

static struct us_socket_t *never(struct us_socket_t *s) {
    CHECK(!"with TLS a stream that ends is a socket that is closed");
    return s;
}

static struct us_socket_t *on_close(struct us_socket_t *s, int code, void *reason) {
    CHECK(code == 0 && !reason);
    if (us_socket_context(1, s) == server) {
        server_closed++;
        us_listen_socket_close(1, listener);
    } else {
        client_closed++;
    }
    return s;
}

static int knows_two;

static void on_server_name(struct us_socket_context_t *context, const char *name) {
    CHECK(context == server);
    asked++;
    if (!strcmp(name, "www.two.test")) {
        us_socket_context_add_server_name(1, context, "*.two.test", options("two", NULL), &knows_two);
    }
}

/* One connection, with these options at either end. Whether data came through. */
static int converse(struct us_socket_context_options_t of_server, struct us_socket_context_options_t of_client) {
    server_opened = server_closed = client_opened = client_closed = asked = exchanged = sent = 0;
    got = 0;
    server_user = NULL;
    loop = new_loop();
    server = us_create_socket_context(1, loop, 16, of_server);
    client = us_create_socket_context(1, loop, 16, of_client);
    CHECK(server && client);
    CHECK(!us_socket_context_get_native_handle(1, server));
    us_socket_context_on_server_name(1, server, on_server_name);
    us_socket_context_add_server_name(1, server, "one.test", options("one", NULL), &asked);
    us_socket_context_add_server_name(1, server, "one.test", options("two", NULL), NULL);
    CHECK(us_socket_context_find_server_name_userdata(1, server, "one.test") == &asked);
    CHECK(!us_socket_context_find_server_name_userdata(1, server, "www.one.test"));
    us_socket_context_add_server_name(1, server, "gone.test", options("one", NULL), &asked);
    us_socket_context_remove_server_name(1, server, "gone.test");
    CHECK(!us_socket_context_find_server_name_userdata(1, server, "gone.test"));
    struct us_socket_context_t *both[] = {server, client};
    for (int i = 0; i < 2; i++) {
        us_socket_context_on_open(1, both[i], on_open);
        us_socket_context_on_close(1, both[i], on_close);
        us_socket_context_on_end(1, both[i], never);
        us_socket_context_on_data(1, both[i], on_data);
    }
    us_socket_context_on_writable(1, client, send_on);
    listener = us_socket_context_listen(1, server, address, 0, 0, 16);
    CHECK(listener);
    int port = us_socket_local_port(1, (struct us_socket_t *)listener);
    CHECK(us_socket_context_connect(1, client, address, port, NULL, 0, 16));
    us_loop_run(loop);
    CHECK(client_opened == 1 && client_closed == 1 && server_opened == 1 && server_closed == 1);
    us_socket_context_free(1, client);
    us_socket_context_free(1, server);
    us_loop_free(loop);
    CHECK(!exchanged || got == MUCH);
    return exchanged;
}

static void who_trusts_whom(void) {
    /* Without authorities everybody does. */
    CHECK(converse(options("server", NULL), options(NULL, NULL)));
    CHECK(converse(options("server", NULL), options("client", NULL)));
    /* With one, its certificates are trusted, whatever name they are for. */
    CHECK(converse(options("server", "ca.pem"), options("client", "ca.pem")));
    CHECK(converse(options("server", "ca.pem"), options(NULL, "ca.pem")));
    CHECK(!converse(options("server", "ca.pem"), options("self", "ca.pem")));
    CHECK(!converse(options("self", NULL), options(NULL, "ca.pem")));
    /* And one that is its own authority, if that is what is trusted. */
    CHECK(converse(options("server", "self.pem"), options("self", "ca.pem")));
    CHECK(converse(options("self", NULL), options(NULL, "self.pem")));
    CHECK(!converse(options("server", NULL), options(NULL, "self.pem")));
}

static void what_cannot_be_used(void) {
    loop = new_loop();
    CHECK(!us_create_socket_context(1, loop, 0, options("nobody", NULL)));
    CHECK(!us_create_socket_context(1, loop, 0, options("server", "nobody.pem")));
    struct us_socket_context_options_t it = options("server", NULL);
    it.ssl_ciphers = "NO-SUCH-CIPHER";
    CHECK(!us_create_socket_context(1, loop, 0, it));
    it = options("server", NULL);
    it.key_file_name = file("locked.key");
    CHECK(!us_create_socket_context(1, loop, 0, it));
    it.passphrase = "1234";
    it.ssl_prefer_low_memory_usage = 1;
    struct us_socket_context_t *context = us_create_socket_context(1, loop, 0, it);
    CHECK(context);
    us_socket_context_free(1, context);
    us_loop_free(loop);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    much = (char *)malloc(MUCH);
    for (int i = 0; i < MUCH; i++) {
        much[i] = (char)(i * 7 + (i >> 9));
    }
    who_trusts_whom();
    what_cannot_be_used();
    free(much);
    return 0;
}
