/* An HTTP/1.1 server that greets: keep-alive, pipelining, `Connection: close`; with a certificate and a key, HTTPS.
 *
 *   http [PORT [CERTIFICATE KEY]] */

#include <libusockets.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int ssl;

enum { HEAD = 4096 };

/* Behind every socket: the beginning of a request, what could not be written yet, whether to close after that. */
struct http {
    char head[HEAD];
    int length;
    int owed, closes;
};

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";
enum { ANSWER_LENGTH = sizeof ANSWER - 1 };

static void on_loop(struct us_loop_t *loop) {
    (void)loop;
}

/* Writes what is owed, in bytes of answers. */
static struct us_socket_t *answer(struct us_socket_t *s) {
    struct http *http = (struct http *)us_socket_ext(ssl, s);
    while (http->owed > 0) {
        int done = (ANSWER_LENGTH - http->owed % ANSWER_LENGTH) % ANSWER_LENGTH;
        int written = us_socket_write(ssl, s, ANSWER + done, ANSWER_LENGTH - done, http->owed > ANSWER_LENGTH);
        http->owed -= written;
        if (written < ANSWER_LENGTH - done) {
            return s;
        }
    }
    if (http->closes) {
        us_socket_shutdown(ssl, s);
        return us_socket_close(ssl, s, 0, NULL);
    }
    return s;
}

static struct us_socket_t *on_open(struct us_socket_t *s, int is_client, char *ip, int ip_length) {
    (void)is_client, (void)ip, (void)ip_length;
    us_socket_timeout(ssl, s, 60);
    return s;
}

static struct us_socket_t *on_data(struct us_socket_t *s, char *data, int length) {
    struct http *http = (struct http *)us_socket_ext(ssl, s);
    us_socket_timeout(ssl, s, 60);
    while (length > 0 && !http->closes) {
        int room = HEAD - 1 - http->length;
        int taken = length < room ? length : room;
        memcpy(http->head + http->length, data, (size_t)taken);
        http->length += taken;
        http->head[http->length] = 0;
        data += taken;
        length -= taken;
        /* Requests without a body, which is all that a greeting needs. */
        char *end;
        while ((end = strstr(http->head, "\r\n\r\n"))) {
            end += 4;
            char after = *end;
            *end = 0;
            http->closes = strcasestr(http->head, "\r\nconnection: close") != NULL;
            *end = after;
            http->owed += ANSWER_LENGTH;
            http->length -= (int)(end - http->head);
            memmove(http->head, end, (size_t)http->length + 1);
            if (http->closes) {
                break;
            }
        }
        if (http->length == HEAD - 1) {
            return us_socket_close(ssl, s, 0, NULL);
        }
    }
    return answer(s);
}

static struct us_socket_t *on_over(struct us_socket_t *s) {
    return us_socket_close(ssl, s, 0, NULL);
}

static struct us_socket_t *on_close(struct us_socket_t *s, int code, void *reason) {
    (void)code, (void)reason;
    return s;
}

int main(int argc, char **argv) {
    struct us_loop_t *loop = us_create_loop(NULL, on_loop, on_loop, on_loop, 0);
    if (!loop) {
        return 1;
    }
    struct us_socket_context_options_t options;
    memset(&options, 0, sizeof options);
    if (argc > 3) {
        ssl = 1;
        options.cert_file_name = argv[2];
        options.key_file_name = argv[3];
    }
    struct us_socket_context_t *context = us_create_socket_context(ssl, loop, 0, options);
    if (!context) {
        return 1;
    }
    us_socket_context_on_open(ssl, context, on_open);
    us_socket_context_on_data(ssl, context, on_data);
    us_socket_context_on_writable(ssl, context, answer);
    us_socket_context_on_end(ssl, context, on_over);
    us_socket_context_on_timeout(ssl, context, on_over);
    us_socket_context_on_close(ssl, context, on_close);
    struct us_listen_socket_t *listener =
        us_socket_context_listen(ssl, context, NULL, argc > 1 ? atoi(argv[1]) : 3000, 0, sizeof(struct http));
    if (!listener) {
        fprintf(stderr, "cannot listen\n");
        return 1;
    }
    printf("%s on port %d (%s)\n", ssl ? "https" : "http", us_socket_local_port(ssl, (struct us_socket_t *)listener),
        us_transport_name(loop));
    fflush(stdout);
    us_loop_run(loop);
    us_socket_context_free(ssl, context);
    us_loop_free(loop);
    return 0;
}
