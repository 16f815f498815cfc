/* Loops in threads of their own, woken from others: each wake-up is followed by a wakeup_cb, and many by one. */

#include "test.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 4, WAKES = 2000 };

struct worker {
    struct us_loop_t *loop;
    struct us_timer_t *alive;
    pthread_t thread;
    atomic_int asked, seen;
    int calls;
    long long last_iteration;
};

static struct worker workers[THREADS];
static pthread_barrier_t ready;

static void on_wakeup(struct us_loop_t *loop) {
    struct worker *it = *(struct worker **)us_loop_ext(loop);
    int asked = atomic_load(&it->asked);
    CHECK(pthread_equal(it->thread, pthread_self()));
    /* Once in an iteration. */
    CHECK(us_loop_iteration_number(loop) > it->last_iteration);
    it->last_iteration = us_loop_iteration_number(loop);
    it->calls++;
    atomic_store(&it->seen, asked);
    if (asked == WAKES) {
        us_timer_close(it->alive);
    }
}

static void *work(void *argument) {
    struct worker *it = (struct worker *)argument;
    it->thread = pthread_self();
    it->loop = us_create_loop(us_stack_hint(network), on_wakeup, no_loop, no_loop, sizeof it);
    CHECK(it->loop && !strcmp(us_transport_name(it->loop), network));
    *(struct worker **)us_loop_ext(it->loop) = it;
    it->alive = us_create_timer(it->loop, 0, 0);
    pthread_barrier_wait(&ready);
    us_loop_run(it->loop);
    us_loop_free(it->loop);
    return NULL;
}

static int woken;

static void on_early_wakeup(struct us_loop_t *loop) {
    (void)loop;
    woken++;
}

static void timer_closes(struct us_timer_t *t) {
    us_timer_close(t);
}

/* A loop that is woken before it runs is told when it does, and not kept running by it. */
static void woken_early(void) {
    struct us_loop_t *loop = us_create_loop(NULL, on_early_wakeup, no_loop, no_loop, 0);
    us_wakeup_loop(loop);
    us_wakeup_loop(loop);
    us_loop_run(loop);
    CHECK(woken == 0);
    us_timer_set(us_create_timer(loop, 0, 0), timer_closes, 20, 0);
    us_loop_run(loop);
    CHECK(woken == 1);
    us_loop_integrate(loop);
    us_loop_free(loop);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    woken_early();
    CHECK(us_stack_configure("mem:nobody-is-here?no-such-option=1") == 0);
    CHECK(!us_create_loop(NULL, no_loop, no_loop, no_loop, 0));
    /* What is no hint of ours is not looked at. */
    CHECK(us_stack_configure(network) == 0);
    struct us_loop_t *loop = us_create_loop((void *)&ready, no_loop, no_loop, no_loop, 0);
    CHECK(loop && !strcmp(us_transport_name(loop), network));
    us_loop_free(loop);
    CHECK(us_stack_hint(network) == us_stack_hint(network) && !us_stack_hint(NULL));
    if (strcmp(network, "kernel")) {
        /* A wire in memory has two ends, and here every loop wants one. */
        return 0;
    }
    pthread_barrier_init(&ready, NULL, THREADS + 1);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    pthread_barrier_wait(&ready);
    for (int wake = 1; wake <= WAKES; wake++) {
        for (int i = 0; i < THREADS; i++) {
            atomic_store(&workers[i].asked, wake);
            us_wakeup_loop(workers[i].loop);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(atomic_load(&workers[i].seen) == WAKES);
        CHECK(workers[i].calls >= 1 && workers[i].calls <= WAKES);
    }
    return 0;
}
