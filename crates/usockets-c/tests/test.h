/* What the tests in C share. Each takes a network and an address of its own on it. */

#ifndef TEST_H
#define TEST_H

#include <libusockets.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: %s: %s does not hold\n", __FILE__, __LINE__, __func__, #condition); \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

/* Where the loops are, and how they are reached. */
static const char *network, *address;

static inline void no_loop(struct us_loop_t *loop) {
    (void)loop;
}

/* A loop on the test's network. */
static inline struct us_loop_t *new_loop(void) {
    struct us_loop_t *loop = us_create_loop(NULL, no_loop, no_loop, no_loop, 0);
    CHECK(loop);
    CHECK(!strcmp(us_transport_name(loop), network));
    return loop;
}

static inline struct us_socket_context_t *new_context(struct us_loop_t *loop) {
    struct us_socket_context_options_t options;
    memset(&options, 0, sizeof options);
    struct us_socket_context_t *context = us_create_socket_context(0, loop, 0, options);
    CHECK(context);
    return context;
}

/* What has happened, as a word per event. */
static char log_text[4096];

static inline void log_clear(void) {
    log_text[0] = 0;
}

static inline void log_word(const char *word) {
    size_t used = strlen(log_text);
    snprintf(log_text + used, sizeof log_text - used, "%s%s", used ? " " : "", word);
}

/* The whole story must be this one. */
#define CHECK_LOG(expected)                                                                       \
    do {                                                                                          \
        if (strcmp(log_text, expected)) {                                                         \
            fprintf(stderr, "%s:%d: %s:\n  happened: %s\n  expected: %s\n", __FILE__, __LINE__, __func__, log_text, \
                expected);                                                                        \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

static inline void begin(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s NETWORK ADDRESS\n", argv[0]);
        exit(2);
    }
    network = argv[1];
    address = argv[2];
    CHECK(us_stack_configure(network) == 0);
}

#endif
