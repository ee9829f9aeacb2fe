#include "keyring/pool.h"

#include <pthread.h>

#include "base/log.h"
#include "base/mem.h"

struct finished {
    pthread_mutex_t lock;
    struct job *first, **last;
    struct loop *loop;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct job *first, **last;
    unsigned threads, idle, max_threads;
    struct finished *finished;
};

struct finished *finished_new(struct loop *l) {
    struct finished *f = mem_alloc(sizeof *f);
    pthread_mutex_init(&f->lock, NULL);
    f->last = &f->first;
    f->loop = l;
    return f;
}

struct pool *pool_new(struct finished *f, unsigned max_threads) {
    struct pool *p = mem_alloc(sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->more, NULL);
    p->last = &p->first;
    p->max_threads = max_threads;
    p->finished = f;
    return p;
}

static struct job *take(struct pool *p) {
    pthread_mutex_lock(&p->lock);
    while (!p->first) {
        p->idle++;
        pthread_cond_wait(&p->more, &p->lock);
        p->idle--;
    }
    struct job *j = p->first;
    p->first = j->next;
    if (!p->first) p->last = &p->first;
    j->next = NULL;
    pthread_mutex_unlock(&p->lock);
    return j;
}

static void *work(void *arg) {
    struct pool *p = arg;
    struct finished *f = p->finished;
    for (;;) {
        struct job *j = take(p);
        j->run(j);
        pthread_mutex_lock(&f->lock);
        *f->last = j;
        f->last = &j->next;
        pthread_mutex_unlock(&f->lock);
        loop_wake(f->loop);
    }
    return NULL;
}

/* Called with the lock. */
static void start_thread(struct pool *p) {
    pthread_t thread;
    int error = pthread_create(&thread, NULL, work, p);
    if (error) {
        if (p->threads == 0) log_error("pool.no_thread", KVI("errno", error));
        return;
    }
    pthread_detach(thread);
    p->threads++;
}

void pool_submit(struct pool *p, struct job *j, bool is_urgent) {
    j->pool = p;
    pthread_mutex_lock(&p->lock);
    if (is_urgent) {
        j->next = p->first;
        p->first = j;
        if (!j->next) p->last = &j->next;
    } else {
        j->next = NULL;
        *p->last = j;
        p->last = &j->next;
    }
    size_t waiting = 0;
    for (struct job *i = p->first; i && waiting <= p->idle; i = i->next)
        waiting++;
    if (waiting > p->idle && p->threads < p->max_threads) start_thread(p);
    pthread_cond_signal(&p->more);
    pthread_mutex_unlock(&p->lock);
}

void finished_run(struct finished *f) {
    pthread_mutex_lock(&f->lock);
    struct job *j = f->first;
    f->first = NULL;
    f->last = &f->first;
    pthread_mutex_unlock(&f->lock);
    while (j) {
        struct job *next = j->next;
        j->next = NULL;
        j->done(j);
        j = next;
    }
}
