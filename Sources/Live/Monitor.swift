// One owner at a time, and somewhere to wait for him.

import Glibc

/// A lock with a condition. Whoever waits gives the lock back until somebody says that things have changed.
@safe package final class Monitor: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private let instead: (@Sendable () -> Void)?

  /// Free, with nobody waiting. Who has to wait calls `instead`, again and again, where somebody else than the host
  /// decides which thread goes on, as tests do.
  package init(insteadOfWaiting instead: (@Sendable () -> Void)? = nil) {
    self.instead = instead
    unsafe mutex = .allocate(capacity: 1)
    unsafe condition = .allocate(capacity: 1)
    unsafe mutex.initialize(to: pthread_mutex_t())
    unsafe condition.initialize(to: pthread_cond_t())
    // Whoever has it may ask again, as the explorer does for counts while it draws.
    var attributes = pthread_mutexattr_t()
    unsafe pthread_mutexattr_init(&attributes)
    unsafe pthread_mutexattr_settype(&attributes, Int32(PTHREAD_MUTEX_RECURSIVE))
    unsafe pthread_mutex_init(mutex, &attributes)
    unsafe pthread_mutexattr_destroy(&attributes)
    unsafe pthread_cond_init(condition, nil)
  }

  deinit {
    unsafe pthread_cond_destroy(condition)
    unsafe pthread_mutex_destroy(mutex)
    unsafe condition.deallocate()
    unsafe mutex.deallocate()
  }

  /// Runs `body` while nobody else does.
  ///
  /// - Throws: What `body` throws.
  package func locked<Answer, Failure: Error>(_ body: () throws(Failure) -> Answer) throws(Failure) -> Answer
  {
    lock()
    defer { unsafe pthread_mutex_unlock(mutex) }
    return try body()
  }

  private func lock() {
    guard let instead else {
      unsafe pthread_mutex_lock(mutex)
      return
    }
    while unsafe pthread_mutex_trylock(mutex) != 0 { instead() }
  }

  /// Gives the lock back until somebody calls ``changed()``, or for some time; only while it is had.
  package func wait() {
    guard let instead else {
      unsafe pthread_cond_wait(condition, mutex)
      return
    }
    unsafe pthread_mutex_unlock(mutex)
    instead()
    lock()
  }

  /// Wakes all who wait.
  package func changed() { unsafe pthread_cond_broadcast(condition) }
}
