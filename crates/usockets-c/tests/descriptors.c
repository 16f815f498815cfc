/* Descriptors: the program's own, those of sockets, connections that are handed to another loop, and paths. */

#include "test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static struct us_loop_t *loop;
static struct us_socket_context_t *server, *client;
static struct us_listen_socket_t *listener;

/* --- polls ---------------------------------------------------------------------------------------------------------------- */

static int ends[2], polled, answered;

static void pipe_readable(struct us_poll_t *p, int events) {
    char text[8];
    CHECK(events == LIBUS_SOCKET_READABLE && us_poll_fd(p) == ends[0]);
    CHECK(!strcmp((char *)us_poll_ext(p), "mine"));
    /* A byte at a time: it is told again as long as something is there. */
    CHECK(read(ends[0], text, 1) == 1);
    if (++polled == 3) {
        us_poll_stop(p, loop);
        us_poll_free(p, loop);
    }
}

static void pipe_writable(struct us_poll_t *p, int events) {
    CHECK(events == LIBUS_SOCKET_WRITABLE && us_poll_events(p) == LIBUS_SOCKET_WRITABLE);
    CHECK(write(ends[1], "abc", 3) == 3);
    us_poll_change(p, loop, 0);
    us_poll_free(p, loop);
}

static void own_descriptors(void) {
    loop = new_loop();
    CHECK(pipe2(ends, O_NONBLOCK) == 0);
    struct us_poll_t *in = us_create_poll(loop, 0, 4), *out = us_create_poll(loop, 0, 0);
    memcpy(us_poll_ext(in), "mine", 4);
    us_poll_init(in, ends[0], 0);
    us_poll_init(out, ends[1], 0);
    us_poll_on_event(in, pipe_readable);
    us_poll_on_event(out, pipe_writable);
    us_poll_start(in, loop, LIBUS_SOCKET_READABLE);
    us_poll_start(out, loop, LIBUS_SOCKET_WRITABLE);
    CHECK(us_poll_events(in) == LIBUS_SOCKET_READABLE);
    in = us_poll_resize(in, loop, 4000);
    CHECK(us_poll_fd(in) == ends[0] && us_poll_events(in) == LIBUS_SOCKET_READABLE && ((char *)us_poll_ext(in))[3999] == 0);
    /* One that falls through lets the loop end, watched or not. */
    struct us_poll_t *idle = us_create_poll(loop, 1, 0);
    int event = eventfd(0, 0);
    us_poll_init(idle, event, 0);
    us_poll_start(idle, loop, LIBUS_SOCKET_READABLE);
    us_loop_run(loop);
    CHECK(polled == 3);
    us_poll_stop(idle, loop);
    us_poll_stop(idle, loop);
    us_poll_free(idle, loop);
    /* One that nobody is told of does not keep the processor busy, and one that cannot be watched is none. */
    struct us_poll_t *mute = us_create_poll(loop, 1, 0);
    us_poll_init(mute, ends[1], 0);
    us_poll_start(mute, loop, LIBUS_SOCKET_WRITABLE);
    struct us_poll_t *none = us_create_poll(loop, 1, 0);
    us_poll_start(none, loop, LIBUS_SOCKET_READABLE);
    CHECK(us_poll_fd(none) == -1);
    us_poll_free(none, loop);
    us_poll_free(mute, loop);
    us_loop_free(loop);
    close(event);
    close(ends[0]);
    close(ends[1]);
}

/* As upstream's own callbacks lie behind their polls. */
struct callback {
    struct us_loop_t *loop;
    int expects_the_loop, leaves_ready;
    void (*cb)(void *);
};

static struct us_poll_t *counter;

static void with_poll(void *p) {
    CHECK(p == counter);
    answered++;
    ((struct callback *)us_poll_ext(counter))->expects_the_loop = 1;
    ((struct callback *)us_poll_ext(counter))->cb = NULL;
    us_poll_stop(counter, loop);
    us_poll_free(counter, loop);
}

static void callbacks_of_upstream(void) {
    loop = new_loop();
    int event = eventfd(7, EFD_NONBLOCK);
    counter = us_create_poll(loop, 0, sizeof(struct callback));
    *(struct callback *)us_poll_ext(counter) = (struct callback){.loop = loop, .cb = with_poll};
    us_poll_init(counter, event, 3);
    us_poll_start(counter, loop, LIBUS_SOCKET_READABLE);
    us_loop_run(loop);
    unsigned long long count;
    CHECK(answered == 1 && read(event, &count, sizeof count) == -1);
    us_loop_free(loop);
    close(event);
}

/* --- before a connection is opened ------------------------------------------------------------------------------------------ */

static int asked, opened, closed, taken, has_descriptors;

static LIBUS_SOCKET_DESCRIPTOR keeps_second(struct us_socket_context_t *context, LIBUS_SOCKET_DESCRIPTOR fd, char *ip,
    int ip_length) {
    struct in_addr peer;
    CHECK(context == server && (fd >= 0) == has_descriptors && fd != -1);
    CHECK(ip_length == 4 && inet_pton(AF_INET, address, &peer) == 1 && !memcmp(ip, &peer, 4));
    if (++asked == 2) {
        return fd;
    }
    taken = fd;
    return -1;
}

static struct us_socket_t *opens(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)ip, (void)ip_length;
    if (us_socket_context(0, s) == server) {
        CHECK(!is_client && *(int *)us_socket_ext(0, s) == 0);
        opened++;
        int fd = (int)(long)us_socket_get_native_handle(0, s);
        CHECK((fd >= 0) == has_descriptors && us_poll_fd((struct us_poll_t *)s) == fd);
        us_listen_socket_close(0, listener);
        return us_socket_close(0, s, 0, NULL);
    }
    return s;
}

static struct us_socket_t *ends_closes(struct us_socket_t *s) {
    return us_socket_close(0, s, 0, NULL);
}

static struct us_socket_t *closes(struct us_socket_t *s, int code, void *reason) {
    (void)code, (void)reason;
    closed++;
    if (taken >= 0) {
        /* It is ours, and its peer still waits. */
        CHECK(send(taken, "bye", 3, MSG_NOSIGNAL) == 3);
        CHECK(close(taken) == 0);
        taken = -1;
    }
    return s;
}

static struct us_socket_t *nothing(struct us_socket_t *s, char *data, int length) {
    (void)data, (void)length;
    return s;
}

static void contexts(void) {
    loop = new_loop();
    server = new_context(loop);
    client = new_context(loop);
    struct us_socket_context_t *both[] = {server, client};
    for (int i = 0; i < 2; i++) {
        us_socket_context_on_open(0, both[i], opens);
        us_socket_context_on_close(0, both[i], closes);
        us_socket_context_on_data(0, both[i], nothing);
        us_socket_context_on_end(0, both[i], ends_closes);
    }
}

static void free_all(void) {
    us_socket_context_free(0, client);
    us_socket_context_free(0, server);
    us_loop_free(loop);
}

static void asked_before(void) {
    contexts();
    has_descriptors = !strcmp(network, "kernel");
    asked = opened = closed = 0;
    taken = -1;
    us_socket_context_on_pre_open(0, server, keeps_second);
    listener = us_socket_context_listen(0, server, address, 0, 0, sizeof(int));
    int port = us_socket_local_port(0, (struct us_socket_t *)listener);
    for (int i = 0; i < 2; i++) {
        CHECK(us_socket_context_connect(0, client, address, port, NULL, 0, sizeof(int)));
    }
    us_loop_run(loop);
    CHECK(asked == 2 && opened == 1 && closed == 3);
    free_all();
}

/* --- a connection for another loop, in another thread ------------------------------------------------------------------------ */

static struct us_loop_t *other_loop;
static struct us_socket_context_t *other;
static int handed = -1, other_opened;
static pthread_barrier_t ready;

static struct us_socket_t *other_open(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    CHECK(!is_client && ip_length == 4 && !memcmp(ip, "\x01\x02\x03\x04", 4));
    CHECK(us_socket_context(0, s) == other && us_socket_is_established(0, s));
    other_opened++;
    us_socket_write(0, s, "from the other", 14, 0);
    us_socket_shutdown(0, s);
    return s;
}

static struct us_timer_t *waiting;

static void on_wakeup(struct us_loop_t *l) {
    CHECK(l == other_loop && handed >= 0);
    struct us_socket_t *s = us_adopt_accepted_socket(0, other, handed, 8, (char[]){1, 2, 3, 4}, 4);
    CHECK(s && other_opened == 1 && !us_socket_is_closed(0, s) && us_socket_is_shut_down(0, s));
    CHECK(us_poll_fd((struct us_poll_t *)s) == handed);
    /* What is no connection is none. */
    CHECK(!us_adopt_accepted_socket(0, other, -1, 8, NULL, 0));
    CHECK(!us_adopt_accepted_socket(0, other, 9999, 8, NULL, 0));
    us_timer_close(waiting);
}

static struct us_socket_t *other_close(struct us_socket_t *s, int code, void *reason) {
    (void)code, (void)reason;
    return s;
}

static void *other_thread(void *unused) {
    /* On the same network or not: what is handed on is the kernel's. */
    other_loop = us_create_loop(us_stack_hint("kernel"), on_wakeup, no_loop, no_loop, 0);
    other = new_context(other_loop);
    us_socket_context_on_open(0, other, other_open);
    us_socket_context_on_close(0, other, other_close);
    us_socket_context_on_data(0, other, nothing);
    waiting = us_create_timer(other_loop, 0, 0);
    pthread_barrier_wait(&ready);
    us_loop_run(other_loop);
    us_socket_context_free(0, other);
    us_loop_free(other_loop);
    return unused;
}

static LIBUS_SOCKET_DESCRIPTOR hands_on(struct us_socket_context_t *context, LIBUS_SOCKET_DESCRIPTOR fd, char *ip,
    int ip_length) {
    (void)context, (void)ip, (void)ip_length;
    handed = fd;
    us_wakeup_loop(other_loop);
    us_listen_socket_close(0, listener);
    return -1;
}

static int heard;

static struct us_socket_t *hears(struct us_socket_t *s, char *data, int length) {
    CHECK(length == 14 && !memcmp(data, "from the other", 14));
    heard++;
    return s;
}

static void handed_on(void) {
    pthread_t thread;
    pthread_barrier_init(&ready, NULL, 2);
    CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
    pthread_barrier_wait(&ready);
    CHECK(us_stack_configure("kernel") == 0);
    loop = us_create_loop(NULL, no_loop, no_loop, no_loop, 0);
    CHECK(us_stack_configure(network) == 0);
    server = new_context(loop);
    client = new_context(loop);
    us_socket_context_on_pre_open(0, server, hands_on);
    us_socket_context_on_open(0, client, NULL);
    us_socket_context_on_data(0, client, hears);
    us_socket_context_on_end(0, client, ends_closes);
    listener = us_socket_context_listen(0, server, "127.0.0.1", 0, 0, 0);
    int port = us_socket_local_port(0, (struct us_socket_t *)listener);
    CHECK(us_socket_context_connect(0, client, "127.0.0.1", port, NULL, 0, 0));
    us_loop_run(loop);
    CHECK(heard == 1);
    free_all();
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(other_opened == 1);
}

/* --- opened from within on_open ------------------------------------------------------------------------------------------------- */

static int pairs[2][2], nested, depth;

static struct us_socket_t *open_nests(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    CHECK(!is_client && ip_length == 0);
    (void)ip;
    depth++;
    if (nested++ == 0) {
        struct us_socket_t *inner = us_adopt_accepted_socket(0, server, pairs[1][0], 0, NULL, 0);
        CHECK(inner && nested == 2 && us_socket_is_closed(0, inner));
    } else {
        CHECK(depth == 2);
        us_socket_close(0, s, 0, NULL);
    }
    depth--;
    return s;
}

static void opened_within_on_open(void) {
    contexts();
    taken = -1;
    closed = 0;
    us_socket_context_on_open(0, server, open_nests);
    for (int i = 0; i < 2; i++) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]) == 0);
    }
    CHECK(us_adopt_accepted_socket(0, server, pairs[0][0], 0, NULL, 0));
    CHECK(nested == 2 && closed == 1);
    close(pairs[0][1]);
    close(pairs[1][1]);
    us_loop_run(loop);
    CHECK(closed == 2);
    free_all();
}

/* --- paths ------------------------------------------------------------------------------------------------------------------ */

static int over_path;

static struct us_socket_t *open_over_path(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)ip;
    char bytes[16];
    int length = sizeof bytes;
    CHECK(ip_length == 0);
    us_socket_remote_address(0, s, bytes, &length);
    CHECK(length == 0 && us_socket_remote_port(0, s) == -1 && us_socket_local_port(0, s) == -1);
    CHECK(us_poll_fd((struct us_poll_t *)s) >= 0);
    if (is_client) {
        us_socket_write(0, s, "over a path", 11, 0);
    }
    return s;
}

static struct us_socket_t *data_over_path(struct us_socket_t *s, char *data, int length) {
    CHECK(length == 11 && !memcmp(data, "over a path", 11));
    over_path++;
    us_listen_socket_close(0, listener);
    return us_socket_close(0, s, 0, NULL);
}

static int path_errors;

static struct us_socket_t *path_error(struct us_socket_t *s, int code) {
    CHECK(code == 0);
    path_errors++;
    return s;
}

static void paths(void) {
    contexts();
    char folder[] = "/tmp/usockets-c-XXXXXX", path[64], longest[200];
    CHECK(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    taken = -1;
    us_socket_context_on_open(0, server, open_over_path);
    us_socket_context_on_open(0, client, open_over_path);
    us_socket_context_on_data(0, server, data_over_path);
    us_socket_context_on_connect_error(0, client, path_error);
    /* What lies there is replaced. */
    for (int i = 0; i < 2; i++) {
        listener = us_socket_context_listen_unix(0, server, path, 0, 16);
        CHECK(listener && us_socket_local_port(0, (struct us_socket_t *)listener) == -1);
        CHECK(us_socket_context_connect_unix(0, client, path, 0, 16));
        us_loop_run(loop);
        CHECK(over_path == i + 1 && access(path, F_OK) == 0);
    }
    /* Nobody is there any more: told now or later, but told. */
    int told = !us_socket_context_connect_unix(0, client, path, 0, 0);
    us_loop_run(loop);
    CHECK(told + path_errors == 1);
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    CHECK(!us_socket_context_listen_unix(0, server, longest, 0, 0) && !us_socket_context_listen_unix(0, server, NULL, 0, 0));
    CHECK(!us_socket_context_connect_unix(0, client, longest, 0, 0) && !us_socket_context_connect_unix(0, client, NULL, 0, 0));
    free_all();
    CHECK(unlink(path) == 0 && rmdir(folder) == 0);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    own_descriptors();
    callbacks_of_upstream();
    asked_before();
    handed_on();
    opened_within_on_open();
    paths();
    return 0;
}
