/* The order of events: every callback, what may be done in it, and what is told when. */

#include "test.h"

static struct us_loop_t *loop;
static struct us_socket_context_t *server, *client;
static struct us_listen_socket_t *listener;

/* The extension of every socket here. */
struct ext {
    int marked;
    char name;
};

static void word(struct us_socket_t *s, const char *what) {
    char text[64];
    snprintf(text, sizeof text, "%s:%s", us_socket_context(0, s) == client ? "client" : "server", what);
    log_word(text);
}

static int port(void) {
    return us_socket_local_port(0, (struct us_socket_t *)listener);
}

static struct us_socket_t *dial(struct us_socket_context_t *context) {
    struct us_socket_t *s = us_socket_context_connect(0, context, address, port(), NULL, 0, sizeof(struct ext));
    CHECK(s && !us_socket_is_closed(0, s) && !us_socket_is_established(0, s));
    CHECK(us_socket_context(0, s) == context);
    return s;
}

/* Callbacks that log, and do what is usual. */

static struct us_socket_t *open_logs(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    word(s, "open");
    CHECK(us_socket_is_established(0, s) && !us_socket_is_closed(0, s) && !us_socket_is_shut_down(0, s));
    CHECK(us_poll_events((struct us_poll_t *)s) == LIBUS_SOCKET_READABLE);
    CHECK(((size_t)us_socket_ext(0, s)) % LIBUS_EXT_ALIGNMENT == 0);
    CHECK(is_client == (us_socket_context(0, s) == client));
    if (is_client) {
        CHECK(!ip && ip_length == 0);
        CHECK(us_socket_remote_port(0, s) == port());
    } else {
        char again[16];
        int length = sizeof again;
        CHECK(ip && (ip_length == 4 || ip_length == 16));
        us_socket_remote_address(0, s, again, &length);
        CHECK(length == ip_length && !memcmp(ip, again, (size_t)length));
        length = 3;
        us_socket_remote_address(0, s, again, &length);
        CHECK(length == 0);
        CHECK(us_socket_local_port(0, s) == port());
    }
    return s;
}

static struct us_socket_t *data_logs(struct us_socket_t *s, char *data, int length) {
    char text[64];
    CHECK(length > 0);
    snprintf(text, sizeof text, "data(%.*s)", length < 40 ? length : 40, data);
    word(s, text);
    return s;
}

static struct us_socket_t *end_closes(struct us_socket_t *s) {
    word(s, "end");
    return us_socket_close(0, s, 0, NULL);
}

static struct us_socket_t *writable_logs(struct us_socket_t *s) {
    word(s, "writable");
    return s;
}

static struct us_socket_t *timeout_logs(struct us_socket_t *s) {
    word(s, "timeout");
    return s;
}

static struct us_socket_t *connect_error_logs(struct us_socket_t *s, int code) {
    word(s, "connect_error");
    CHECK(code == 0 && !us_socket_is_closed(0, s) && !us_socket_is_established(0, s));
    return s;
}

static struct us_socket_t *close_logs(struct us_socket_t *s, int code, void *reason) {
    char text[64];
    snprintf(text, sizeof text, "close(%d,%s)", code, reason ? (char *)reason : "");
    word(s, text);
    /* A closed socket can be looked at, and nothing that is done to it does anything. */
    CHECK(us_socket_is_closed(0, s));
    CHECK(us_socket_write(0, s, "x", 1, 0) == 0);
    CHECK(us_socket_close(0, s, 9, NULL) == s);
    us_socket_shutdown(0, s);
    us_socket_shutdown_read(0, s);
    us_socket_timeout(0, s, 4);
    us_socket_long_timeout(0, s, 1);
    us_socket_flush(0, s);
    us_poll_change((struct us_poll_t *)s, loop, LIBUS_SOCKET_WRITABLE);
    CHECK(us_socket_context_adopt_socket(0, us_socket_context(0, s), s, 4096) == s);
    CHECK(us_socket_ext(0, s));
    int length = 16;
    char ip[16];
    us_socket_remote_address(0, s, ip, &length);
    CHECK(length == 0);
    if (us_socket_context(0, s) == server) {
        us_listen_socket_close(0, listener);
    }
    return s;
}

static void callbacks(struct us_socket_context_t *context) {
    us_socket_context_on_open(0, context, open_logs);
    us_socket_context_on_data(0, context, data_logs);
    us_socket_context_on_end(0, context, end_closes);
    us_socket_context_on_close(0, context, close_logs);
    us_socket_context_on_writable(0, context, writable_logs);
    us_socket_context_on_timeout(0, context, timeout_logs);
    us_socket_context_on_long_timeout(0, context, timeout_logs);
    us_socket_context_on_connect_error(0, context, connect_error_logs);
}

static void set_up(void) {
    log_clear();
    loop = new_loop();
    server = new_context(loop);
    client = new_context(loop);
    callbacks(server);
    callbacks(client);
    listener = us_socket_context_listen(0, server, address, 0, 0, sizeof(struct ext));
    CHECK(listener && port() > 0);
    CHECK(!us_socket_is_established(0, (struct us_socket_t *)listener));
    CHECK(!us_socket_is_closed(0, (struct us_socket_t *)listener));
    CHECK(us_socket_context(0, (struct us_socket_t *)listener) == server);
    us_socket_timeout(0, (struct us_socket_t *)listener, 4);
}

static void tear_down(void) {
    us_socket_context_free(0, client);
    us_socket_context_free(0, server);
    us_loop_free(loop);
}

/* --- a greeting, an answer, an end ------------------------------------------------------------------------------------ */

static struct us_socket_t *open_greets(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    open_logs(s, is_client, ip, ip_length);
    if (is_client) {
        CHECK(us_socket_write2(0, s, "hel", 3, "lo", 2) == 5);
    }
    return s;
}

static struct us_socket_t *data_answers(struct us_socket_t *s, char *data, int length) {
    data_logs(s, data, length);
    CHECK(us_socket_write(0, s, "wor", 3, 1) == 3);
    CHECK(us_socket_write(0, s, "ld", 2, 1) == 2);
    us_socket_flush(0, s);
    us_socket_shutdown(0, s);
    CHECK(us_socket_is_shut_down(0, s) && !us_socket_is_closed(0, s));
    CHECK(us_socket_write(0, s, "more", 4, 0) == 0);
    return s;
}

static void a_conversation(void) {
    set_up();
    us_socket_context_on_open(0, client, open_greets);
    us_socket_context_on_data(0, server, data_answers);
    dial(client);
    us_loop_run(loop);
    /* The client ends its stream after the server ended its: the server has no on_end. Which end opens first is the
     * network's affair. */
    const char *rest = "server:data(hello) client:data(world) client:end client:close(0,) server:close(0,)";
    char expected[256];
    snprintf(expected, sizeof expected, "%s %s", log_text[0] == 'c' ? "client:open server:open" : "server:open client:open",
        rest);
    CHECK_LOG(expected);
    tear_down();
}

/* --- code and reason ---------------------------------------------------------------------------------------------------- */

static struct us_socket_t *open_closes_with_reason(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)is_client, (void)ip, (void)ip_length;
    log_word("before");
    CHECK(us_socket_close(0, s, 1006, (char[]){"because"}) == s);
    log_word("after");
    CHECK(us_socket_is_closed(0, s));
    return s;
}

static void code_and_reason_are_the_programs(void) {
    set_up();
    us_socket_context_on_open(0, client, open_closes_with_reason);
    us_socket_context_on_open(0, server, NULL);
    us_socket_context_on_end(0, server, end_closes);
    dial(client);
    us_loop_run(loop);
    CHECK(strstr(log_text, "before client:close(1006,because) after"));
    CHECK(strstr(log_text, "server:end server:close(0,)"));
    tear_down();
}

/* --- on_close within on_close ------------------------------------------------------------------------------------------- */

static struct us_socket_t *others[3];
static int opened;

static struct us_socket_t *close_closes_others(struct us_socket_t *s, int code, void *reason) {
    (void)code, (void)reason;
    log_word("in");
    for (int i = 0; i < 3; i++) {
        if (others[i] != s) {
            us_socket_close(0, others[i], 0, NULL);
            CHECK(us_socket_is_closed(0, others[i]));
        }
    }
    log_word("out");
    return others[0];
}

static struct us_socket_t *open_closes_all(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)is_client, (void)ip, (void)ip_length;
    if (++opened == 3) {
        CHECK(us_socket_close(0, s, 0, NULL) == others[0]);
        log_word("done");
    }
    return s;
}

static struct us_socket_t *close_quietly(struct us_socket_t *s, int code, void *reason) {
    (void)code, (void)reason;
    us_listen_socket_close(0, listener);
    return s;
}

static struct us_socket_t *end_quietly(struct us_socket_t *s) {
    return us_socket_close(0, s, 0, NULL);
}

static void closes_nest(void) {
    set_up();
    opened = 0;
    us_socket_context_on_open(0, server, NULL);
    us_socket_context_on_close(0, server, close_quietly);
    us_socket_context_on_end(0, server, end_quietly);
    us_socket_context_on_open(0, client, open_closes_all);
    us_socket_context_on_close(0, client, close_closes_others);
    for (int i = 0; i < 3; i++) {
        others[i] = dial(client);
    }
    us_loop_run(loop);
    CHECK_LOG("in in in out out out done");
    tear_down();
}

/* --- pre, post and where closed sockets go ------------------------------------------------------------------------------ */

static void pre_logs(struct us_loop_t *l) {
    (void)l;
    log_word("pre");
}

static void post_logs(struct us_loop_t *l) {
    (void)l;
    log_word("post");
}

static struct us_timer_t *timer;

static void timer_logs(struct us_timer_t *t) {
    CHECK(t == timer && us_timer_loop(t) == loop);
    log_word("timer");
    us_timer_close(t);
}

static void iterations(void) {
    log_clear();
    loop = us_create_loop(NULL, no_loop, pre_logs, post_logs, 24);
    CHECK(loop && us_loop_ext(loop) && ((size_t)us_loop_ext(loop)) % 16 == 0);
    memset(us_loop_ext(loop), 7, 24);
    us_loop_run(loop);
    CHECK_LOG("");
    /* A timer that falls through does not keep it running, armed or not. */
    struct us_timer_t *fallthrough = us_create_timer(loop, 1, 8);
    us_timer_set(fallthrough, timer_logs, 1, 1);
    us_loop_run(loop);
    CHECK_LOG("");
    us_timer_close(fallthrough);
    timer = us_create_timer(loop, 0, 16);
    CHECK(timer && us_timer_ext(timer) && ((size_t)us_timer_ext(timer)) % 16 == 0);
    us_timer_set(timer, timer_logs, 10, 0);
    us_loop_run(loop);
    CHECK(strlen(log_text) >= strlen("pre timer post"));
    CHECK(!strcmp(log_text + strlen(log_text) - strlen("pre timer post"), "pre timer post"));
    CHECK(us_loop_iteration_number(loop) >= 1);
    long long number = us_loop_iteration_number(loop);
    /* Again. */
    timer = us_create_timer(loop, 0, 0);
    us_timer_set(timer, timer_logs, 1, 0);
    us_loop_run(loop);
    CHECK(us_loop_iteration_number(loop) > number);
    us_loop_free(loop);
}

/* --- timers ------------------------------------------------------------------------------------------------------------- */

static int fired;

static void timer_counts(struct us_timer_t *t) {
    if (++fired == 3) {
        us_timer_set(t, timer_counts, 0, 0);
        us_timer_set(t, timer_counts, 0, 5);
        us_timer_set(t, timer_logs, 5, 0);
        timer = t;
    }
}

static void timers(void) {
    log_clear();
    fired = 0;
    loop = new_loop();
    timer = us_create_timer(loop, 0, 0);
    us_timer_set(timer, timer_counts, 5, 5);
    us_loop_run(loop);
    CHECK(fired == 3);
    CHECK_LOG("timer");
    us_loop_free(loop);
}

/* --- connecting where nobody listens -------------------------------------------------------------------------------------- */

static struct us_socket_t *connect_error_ends(struct us_socket_t *s, int code) {
    connect_error_logs(s, code);
    us_listen_socket_close(0, listener);
    return s;
}

static void nobody_listens(void) {
    set_up();
    us_socket_context_on_connect_error(0, client, connect_error_ends);
    /* A port that was free a moment ago. */
    struct us_listen_socket_t *other = us_socket_context_listen(0, server, address, 0, LIBUS_LISTEN_EXCLUSIVE_PORT, 0);
    CHECK(other);
    int free_port = us_socket_local_port(0, (struct us_socket_t *)other);
    us_listen_socket_close(0, other);
    us_listen_socket_close(0, other);
    CHECK(us_socket_is_closed(0, (struct us_socket_t *)other));
    CHECK(us_socket_context_connect(0, client, address, free_port, NULL, 0, 0));
    us_loop_run(loop);
    CHECK_LOG("client:connect_error");
    CHECK(!us_socket_context_connect(0, client, "no-such-host.invalid", 80, NULL, 0, 0));
    CHECK(!us_socket_context_connect(0, client, address, 80, "203.0.113.77", 0, 0));
    CHECK(!us_socket_context_connect(0, client, address, 70000, NULL, 0, 0));
    CHECK(!us_socket_context_listen(0, server, "203.0.113.77", 0, 0, 0));
    us_loop_run(loop);
    CHECK_LOG("client:connect_error");
    tear_down();
}

static void close_while_connecting(void) {
    set_up();
    us_socket_context_on_open(0, server, NULL);
    us_socket_context_on_close(0, server, close_quietly);
    struct us_socket_t *s = dial(client);
    CHECK(us_poll_events((struct us_poll_t *)s) == LIBUS_SOCKET_WRITABLE);
    CHECK(us_socket_write(0, s, "x", 1, 0) == 0);
    CHECK(us_socket_close_connecting(0, s) == s && us_socket_is_closed(0, s));
    us_socket_close_connecting(0, s);
    CHECK(us_socket_close(0, s, 1, NULL) == s);
    s = dial(client);
    CHECK(us_socket_close(0, s, 5, NULL) == s);
    dial(client);
    us_socket_context_close(0, client);
    us_socket_context_close(0, server);
    us_loop_run(loop);
    CHECK_LOG("client:close(5,) client:close(0,)");
    tear_down();
}

/* --- adopting ----------------------------------------------------------------------------------------------------------- */

static struct us_socket_context_t *child;

struct large {
    struct ext begins_with;
    char more[3000];
};

static struct us_socket_t *open_marks(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    open_logs(s, is_client, ip, ip_length);
    struct ext *ext = (struct ext *)us_socket_ext(0, s);
    CHECK(ext->marked == 0 && ext->name == 0);
    ext->marked = 0x1234;
    ext->name = is_client ? 'c' : 's';
    if (is_client) {
        us_socket_write(0, s, "upgrade", 7, 0);
    }
    return s;
}

static struct us_socket_t *child_data(struct us_socket_t *s, char *data, int length) {
    struct large *ext = (struct large *)us_socket_ext(0, s);
    CHECK(us_socket_context(0, s) == child && ext->begins_with.marked == 0x1234 && ext->begins_with.name == 's');
    char text[64];
    snprintf(text, sizeof text, "child:data(%.*s)", length, data);
    log_word(text);
    /* Back, to a smaller extension. */
    s = us_socket_context_adopt_socket(0, server, s, sizeof(struct ext));
    CHECK(us_socket_context(0, s) == server && ((struct ext *)us_socket_ext(0, s))->marked == 0x1234);
    return us_socket_close(0, s, 0, NULL);
}

static struct us_socket_t *data_upgrades(struct us_socket_t *s, char *data, int length) {
    data_logs(s, data, length);
    us_socket_timeout(0, s, 4);
    struct us_socket_t *old = s;
    s = us_socket_context_adopt_socket(0, child, s, sizeof(struct large));
    struct large *ext = (struct large *)us_socket_ext(0, s);
    for (size_t i = 0; i < sizeof ext->more; i++) {
        CHECK(ext->more[i] == 0);
    }
    memset(ext->more, 1, sizeof ext->more);
    CHECK(us_socket_context(0, s) == child);
    if (old != s) {
        CHECK(us_socket_is_closed(0, old));
    }
    CHECK(us_socket_write(0, s, "upgraded", 8, 0) == 8);
    return s;
}

static struct us_socket_t *data_goes_on(struct us_socket_t *s, char *data, int length) {
    data_logs(s, data, length);
    us_socket_write(0, s, "frame", 5, 0);
    return s;
}

static void adopting(void) {
    set_up();
    child = us_create_child_socket_context(0, server, 100);
    CHECK(child && us_socket_context_ext(0, child) && us_socket_context_loop(0, child) == loop);
    us_socket_context_on_data(0, child, child_data);
    us_socket_context_on_open(0, server, open_marks);
    us_socket_context_on_open(0, client, open_marks);
    us_socket_context_on_data(0, server, data_upgrades);
    us_socket_context_on_data(0, client, data_goes_on);
    dial(client);
    us_loop_run(loop);
    CHECK(strstr(log_text,
        "server:data(upgrade) client:data(upgraded) child:data(frame) server:close(0,) client:end client:close(0,)"));
    us_socket_context_free(0, child);
    tear_down();
}

/* --- pausing -------------------------------------------------------------------------------------------------------------- */

static struct us_socket_t *paused;
static int resumed;

static void timer_resumes(struct us_timer_t *t) {
    CHECK(!strstr(log_text, "server:data"));
    CHECK(us_poll_events((struct us_poll_t *)paused) == 0);
    resumed = 1;
    us_poll_change((struct us_poll_t *)paused, loop, LIBUS_SOCKET_READABLE);
    us_timer_close(t);
}

static struct us_socket_t *open_pauses(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)is_client, (void)ip, (void)ip_length;
    us_poll_change((struct us_poll_t *)s, loop, us_poll_events((struct us_poll_t *)s) & LIBUS_SOCKET_WRITABLE);
    paused = s;
    struct us_timer_t *t = us_create_timer(loop, 0, 0);
    us_timer_set(t, timer_resumes, 50, 0);
    return s;
}

static struct us_socket_t *data_wants_room(struct us_socket_t *s, char *data, int length) {
    CHECK(resumed);
    data_logs(s, data, length);
    /* Asking to be told that there is room, without having been short of it. */
    us_poll_change((struct us_poll_t *)s, loop, LIBUS_SOCKET_READABLE | LIBUS_SOCKET_WRITABLE);
    return s;
}

static struct us_socket_t *writable_closes(struct us_socket_t *s) {
    writable_logs(s);
    CHECK(us_poll_events((struct us_poll_t *)s) == LIBUS_SOCKET_READABLE);
    return us_socket_close(0, s, 0, NULL);
}

static void pausing(void) {
    set_up();
    resumed = 0;
    us_socket_context_on_open(0, server, open_pauses);
    us_socket_context_on_data(0, server, data_wants_room);
    us_socket_context_on_writable(0, server, writable_closes);
    us_socket_context_on_open(0, client, open_greets);
    dial(client);
    us_loop_run(loop);
    CHECK(strstr(log_text, "server:data(hello) server:writable server:close(0,) client:end client:close(0,)"));
    tear_down();
}

/* --- much data, and room for it ------------------------------------------------------------------------------------------- */

enum { MUCH = 12 << 20 };
static char *much;
static int sent, got, shorts;

static struct us_socket_t *send_on(struct us_socket_t *s) {
    int written = us_socket_write(0, s, much + sent, MUCH - sent, 0);
    CHECK(written >= 0 && written <= MUCH - sent);
    sent += written;
    if (sent < MUCH) {
        shorts++;
        CHECK(us_poll_events((struct us_poll_t *)s) & LIBUS_SOCKET_WRITABLE);
        return s;
    }
    /* All of it is delivered, although the socket is closed. */
    return us_socket_close(0, s, 0, NULL);
}

static struct us_socket_t *open_sends(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)is_client, (void)ip, (void)ip_length;
    return send_on(s);
}

static struct us_socket_t *data_counts(struct us_socket_t *s, char *data, int length) {
    CHECK(length > 0 && length <= LIBUS_RECV_BUFFER_LENGTH);
    CHECK(!memcmp(data, much + got, (size_t)length));
    /* The bytes and those around them are ours. */
    memset(data - LIBUS_RECV_BUFFER_PADDING, 0x55, (size_t)length + 2 * LIBUS_RECV_BUFFER_PADDING);
    got += length;
    return s;
}

static void much_data(void) {
    set_up();
    much = (char *)malloc(MUCH);
    CHECK(much);
    for (int i = 0; i < MUCH; i++) {
        much[i] = (char)(i * 31 + (i >> 11));
    }
    sent = got = shorts = 0;
    us_socket_context_on_open(0, client, open_sends);
    us_socket_context_on_writable(0, client, send_on);
    us_socket_context_on_data(0, server, data_counts);
    dial(client);
    us_loop_run(loop);
    CHECK(sent == MUCH && got == MUCH && shorts > 0);
    free(much);
    tear_down();
}

/* --- a half-closed connection, and shutdown_read -------------------------------------------------------------------------- */

static struct us_socket_t *open_ends(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    open_logs(s, is_client, ip, ip_length);
    us_socket_write(0, s, "last", 4, 0);
    us_socket_shutdown(0, s);
    us_socket_shutdown(0, s);
    return s;
}

static struct us_socket_t *end_goes_on(struct us_socket_t *s) {
    word(s, "end");
    CHECK(!us_socket_is_closed(0, s) && us_poll_events((struct us_poll_t *)s) == 0);
    CHECK(us_socket_write(0, s, "still here", 10, 0) == 10);
    us_socket_shutdown(0, s);
    return s;
}

static void half_closed(void) {
    set_up();
    us_socket_context_on_open(0, client, open_ends);
    us_socket_context_on_end(0, server, end_goes_on);
    dial(client);
    us_loop_run(loop);
    CHECK(strstr(log_text, "server:data(last) server:end"));
    CHECK(strstr(log_text, "client:data(still here) client:close(0,)"));
    CHECK(!strstr(log_text, "client:end"));
    CHECK(strstr(log_text, "server:close(0,)"));
    tear_down();
}

static struct us_socket_t *open_shuts_reading(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    open_logs(s, is_client, ip, ip_length);
    us_socket_shutdown_read(0, s);
    CHECK(!us_socket_is_closed(0, s));
    return s;
}

static void reading_is_shut(void) {
    set_up();
    us_socket_context_on_open(0, client, open_shuts_reading);
    dial(client);
    us_loop_run(loop);
    CHECK(strstr(log_text, "client:end client:close(0,)"));
    CHECK(strstr(log_text, "server:end server:close(0,)"));
    tear_down();
}

/* --- timeouts ------------------------------------------------------------------------------------------------------------- */

static struct us_socket_t *open_times_out(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    open_logs(s, is_client, ip, ip_length);
    us_socket_timeout(0, s, 60);
    us_socket_timeout(0, s, 4);
    us_socket_long_timeout(0, s, 1);
    us_socket_long_timeout(0, s, 0);
    return s;
}

static struct us_socket_t *timeout_closes(struct us_socket_t *s) {
    timeout_logs(s);
    return us_socket_close(0, s, 0, NULL);
}

static void timeouts(void) {
    set_up();
    us_socket_context_on_open(0, client, open_times_out);
    us_socket_context_on_timeout(0, client, timeout_closes);
    unsigned short before = us_socket_context_timestamp(0, client);
    dial(client);
    us_loop_run(loop);
    CHECK(strstr(log_text, "client:timeout client:close(0,) server:end server:close(0,)"));
    CHECK(us_socket_context_timestamp(0, client) == before + 1);
    tear_down();
}

/* --- every address ---------------------------------------------------------------------------------------------------------- */

static int expected_length;

static struct us_socket_t *open_checks_ip(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    if (!is_client) {
        CHECK(ip_length == expected_length);
        if (ip_length == 16) {
            static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
            CHECK(!memcmp(ip, mapped, sizeof mapped));
        }
        char again[16];
        int length = 16;
        us_socket_remote_address(0, s, again, &length);
        CHECK(length == expected_length);
    } else {
        us_socket_close(0, s, 0, NULL);
    }
    return s;
}

static void every_address(void) {
    set_up();
    us_listen_socket_close(0, listener);
    for (int plain = 0; plain < 2; plain++) {
        if (plain) {
            setenv("LIBUS_PLAIN_IPV4", "1", 1);
            us_socket_context_free(0, server);
            server = new_context(loop);
            callbacks(server);
        }
        expected_length = plain ? 4 : 16;
        listener = us_socket_context_listen(0, server, NULL, 0, 0, 0);
        CHECK(listener);
        us_socket_context_on_open(0, server, open_checks_ip);
        us_socket_context_on_open(0, client, open_checks_ip);
        dial(client);
        us_loop_run(loop);
    }
    unsetenv("LIBUS_PLAIN_IPV4");
    tear_down();
}

/* --- a context is closed ---------------------------------------------------------------------------------------------------- */

static int closed_by_context;

static struct us_socket_t *open_collects(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)is_client, (void)ip, (void)ip_length;
    if (++opened == 6) {
        us_socket_context_close(0, client);
        CHECK(closed_by_context == 3);
        us_socket_context_close(0, server);
        CHECK(us_socket_is_closed(0, (struct us_socket_t *)listener));
        CHECK(closed_by_context == 6);
    }
    return s;
}

static struct us_socket_t *close_counts(struct us_socket_t *s, int code, void *reason) {
    CHECK(code == 0 && !reason);
    closed_by_context++;
    /* From within, too: nothing is told twice. */
    us_socket_context_close(0, us_socket_context(0, s));
    return s;
}

static void a_context_is_closed(void) {
    set_up();
    opened = closed_by_context = 0;
    struct us_socket_context_t *both[] = {server, client};
    for (int i = 0; i < 2; i++) {
        us_socket_context_on_open(0, both[i], open_collects);
        us_socket_context_on_close(0, both[i], close_counts);
    }
    for (int i = 0; i < 3; i++) {
        dial(client);
    }
    us_loop_run(loop);
    CHECK(closed_by_context == 6);
    tear_down();
}

/* --- freed with everything open --------------------------------------------------------------------------------------------- */

static struct us_socket_t *open_frees(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)ip, (void)ip_length;
    if (is_client) {
        us_socket_write(0, s, "bye", 3, 0);
        us_socket_context_free(0, client);
        CHECK(us_socket_is_closed(0, s));
    }
    return s;
}

static void freed_with_all_open(void) {
    set_up();
    us_socket_context_on_open(0, client, open_frees);
    dial(client);
    us_loop_run(loop);
    CHECK(strstr(log_text, "server:open server:data(bye) server:end server:close(0,)"));
    us_socket_context_free(0, server);
    us_loop_free(loop);
    /* Nothing was run at all. */
    set_up();
    dial(client);
    us_timer_close(us_create_timer(loop, 0, 0));
    tear_down();
    CHECK_LOG("");
}

/* --- null ------------------------------------------------------------------------------------------------------------------- */

static void null_is_nobody(void) {
    struct us_socket_t *s = NULL;
    char ip[16];
    int length = 16;
    us_loop_run(NULL);
    us_wakeup_loop(NULL);
    us_loop_free(NULL);
    CHECK(!us_loop_ext(NULL) && !us_create_timer(NULL, 0, 0) && us_loop_iteration_number(NULL) == 0);
    us_timer_set(NULL, NULL, 1, 1);
    us_timer_close(NULL);
    CHECK(!us_timer_ext(NULL) && !us_timer_loop(NULL));
    CHECK(us_socket_write(0, s, "x", 1, 0) == 0 && us_socket_write2(0, s, "x", 1, "y", 1) == 0);
    CHECK(us_socket_is_closed(0, s) && !us_socket_is_established(0, s) && !us_socket_is_shut_down(0, s));
    CHECK(us_socket_close(0, s, 0, NULL) == NULL && us_socket_close_connecting(0, s) == NULL);
    CHECK(us_socket_local_port(0, s) == -1 && us_socket_remote_port(0, s) == -1);
    us_socket_remote_address(0, s, ip, &length);
    CHECK(length == 0);
    us_socket_timeout(0, s, 1);
    us_socket_shutdown(0, s);
    us_socket_shutdown_read(0, s);
    us_socket_flush(0, s);
    CHECK(!us_socket_ext(0, s) && !us_socket_context(0, s) && !us_socket_context_ext(0, NULL));
    CHECK(!us_socket_context_listen(0, NULL, NULL, 0, 0, 0) && !us_socket_context_connect(0, NULL, NULL, 0, NULL, 0, 0));
    us_socket_context_close(0, NULL);
    us_socket_context_free(0, NULL);
    us_listen_socket_close(0, NULL);
    CHECK(us_poll_events(NULL) == 0 && !us_poll_ext(NULL));
    us_poll_change(NULL, NULL, 1);
    us_poll_stop(NULL, NULL);
    CHECK(!us_transport_name(NULL));
    /* And nothing of no length is nothing. */
    set_up();
    struct us_socket_t *connecting = dial(client);
    CHECK(us_socket_write(0, connecting, NULL, 5, 0) == 0 && us_socket_write(0, connecting, "x", -1, 0) == 0);
    CHECK(us_socket_send_buffer(0, connecting) == us_socket_send_buffer(0, connecting));
    memset(us_socket_send_buffer(0, connecting), 1, LIBUS_RECV_BUFFER_LENGTH);
    tear_down();
}

int main(int argc, char **argv) {
    begin(argc, argv);
    a_conversation();
    code_and_reason_are_the_programs();
    closes_nest();
    iterations();
    timers();
    nobody_listens();
    close_while_connecting();
    adopting();
    pausing();
    much_data();
    half_closed();
    reading_is_shut();
    timeouts();
    every_address();
    a_context_is_closed();
    freed_with_all_open();
    null_is_nobody();
    return 0;
}
