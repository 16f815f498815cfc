/* Timers: one that repeats, one that fires once, and a loop that ends when both are closed. */

#include <libusockets.h>

#include <stdio.h>

static void on_loop(struct us_loop_t *loop) {
    (void)loop;
}

static void on_tick(struct us_timer_t *t) {
    int *ticks = (int *)us_timer_ext(t);
    printf("tick %d\n", ++*ticks);
    if (*ticks == 5) {
        us_timer_close(t);
    }
}

static void on_once(struct us_timer_t *t) {
    printf("once, in iteration %lld at the latest\n", us_loop_iteration_number(us_timer_loop(t)));
    us_timer_close(t);
}

int main(void) {
    struct us_loop_t *loop = us_create_loop(NULL, on_loop, on_loop, on_loop, 0);
    if (!loop) {
        return 1;
    }
    us_timer_set(us_create_timer(loop, 0, sizeof(int)), on_tick, 20, 20);
    us_timer_set(us_create_timer(loop, 0, 0), on_once, 50, 0);
    us_loop_run(loop);
    us_loop_free(loop);
    printf("done\n");
    return 0;
}
