import Glibc

/// Wakes the one thread that sleeps on it. `Mutex` has no condition variable, so pthread's lives here and nowhere else.
///
/// `@unchecked Sendable`: `rung` is only touched with `mutex` held, and pthread objects are made for sharing.
package final class Doorbell: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var rung = false

    package init() {
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        // A jump of the wall clock must not stretch or cut a wait.
        pthread_condattr_setclock(&attributes, MonotonicDeadline.clock)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    package func ring() {
        pthread_mutex_lock(mutex)
        rung = true
        pthread_cond_signal(condition)
        pthread_mutex_unlock(mutex)
    }

    /// Returns true when rung, false when `timeout` passed first.
    package func wait(timeout: Duration? = nil) -> Bool {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        var deadline = timespec()
        if let timeout { deadline = MonotonicDeadline.after(timeout) }
        while !rung {
            let result =
                timeout == nil
                ? pthread_cond_wait(condition, mutex) : pthread_cond_timedwait(condition, mutex, &deadline)
            if result == ETIMEDOUT { break }
        }
        defer { rung = false }
        return rung
    }
}

/// A named thread of its own, for work that blocks on a descriptor: the shared executor must never wait for it.
///
/// `@unchecked Sendable`: `handle` is written once before `start` returns and read only by `join`.
package final class DedicatedThread: @unchecked Sendable {
    private var handle = pthread_t()

    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    package init(_ run: @escaping @Sendable () -> Void) {
        let body = Unmanaged.passRetained(Body(run))
        let result = pthread_create(
            &handle,
            nil,
            { raw in
                if let raw { Unmanaged<Body>.fromOpaque(raw).takeRetainedValue().run() }
                return nil
            },
            body.toOpaque()
        )
        precondition(result == 0, "the system refused a thread at start-up; raise the limit on processes")
    }

    func join() { pthread_join(handle, nil) }
}
