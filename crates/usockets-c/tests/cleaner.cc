// A loop that belongs to a thread, as C++ programs have it: made when it is first asked for, freed by the destructor of a
// variable of the thread. That one is made before anything of the library's, and so goes after it.

#include "test.h"

#include <thread>

namespace {

struct Cleaner {
    us_loop_t *loop = nullptr;
    us_socket_context_t *context = nullptr;

    ~Cleaner() {
        if (loop) {
            us_socket_context_free(0, context);
            us_loop_free(loop);
        }
    }
};

thread_local Cleaner cleaner;

us_listen_socket_t *listener;

us_socket_t *on_open(us_socket_t *s, int is_client, char *, int) {
    if (is_client) {
        us_socket_write(0, s, "hello", 5, 0);
        us_socket_shutdown(0, s);
    }
    return s;
}

us_socket_t *on_data(us_socket_t *s, char *, int) {
    us_listen_socket_close(0, listener);
    return s;
}

us_socket_t *on_end(us_socket_t *s) {
    return us_socket_close(0, s, 0, nullptr);
}

us_socket_t *on_close(us_socket_t *s, int, void *) {
    return s;
}

// A connection to ourselves, and then one that is left open.
void talk() {
    cleaner.loop = new_loop();
    cleaner.context = new_context(cleaner.loop);
    us_socket_context_on_open(0, cleaner.context, on_open);
    us_socket_context_on_data(0, cleaner.context, on_data);
    us_socket_context_on_end(0, cleaner.context, on_end);
    us_socket_context_on_close(0, cleaner.context, on_close);
    listener = us_socket_context_listen(0, cleaner.context, address, 0, 0, 0);
    CHECK(listener);
    int port = us_socket_local_port(0, reinterpret_cast<us_socket_t *>(listener));
    CHECK(us_socket_context_connect(0, cleaner.context, address, port, nullptr, 0, 0));
    us_loop_run(cleaner.loop);
    us_socket_context_options_t options{};
    us_socket_context_t *secure = us_create_socket_context(1, cleaner.loop, 0, options);
    CHECK(secure);
    us_socket_context_free(1, secure);
    listener = us_socket_context_listen(0, cleaner.context, address, 0, 0, 0);
    CHECK(listener);
    port = us_socket_local_port(0, reinterpret_cast<us_socket_t *>(listener));
    CHECK(us_socket_context_connect(0, cleaner.context, address, port, nullptr, 0, 0));
}

} // namespace

int main(int argc, char **argv) {
    begin(argc, argv);
    std::thread(talk).join();
    talk();
    return 0;
}
