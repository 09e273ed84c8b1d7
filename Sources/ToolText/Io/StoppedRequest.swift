// A request that stands still in its middle. It runs on a thread of its own, and never at the same time as whoever
// started it: one of both waits.

import Glibc

/// A request that may be stopped and go on.
@safe final class StoppedRequest {
  private let body: () -> Void
  /// Says that the request has ended or stands still.
  private let turn = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
  /// Says that it may go on.
  private let go = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
  private var thread = pthread_t()
  /// It has come to its end.
  private(set) var hasEnded = false
  /// What it is called while it stands still.
  private(set) var tag: String?

  init(_ body: @escaping () -> Void) {
    self.body = body
    unsafe sem_init(turn, 0, 0)
    unsafe sem_init(go, 0, 0)
  }

  deinit {
    unsafe turn.deallocate()
    unsafe go.deallocate()
  }

  /// Runs until it ends or stands still; false if there is no thread for it.
  func start() -> Bool {
    let context = unsafe Unmanaged.passRetained(self)
    let result = unsafe pthread_create(
      &thread, nil,
      { context in
        guard let context = unsafe context else { return nil }
        let request = unsafe Unmanaged<StoppedRequest>.fromOpaque(context).takeRetainedValue()
        request.body()
        request.hasEnded = true
        unsafe sem_post(request.turn)
        return nil
      }, unsafe context.toOpaque())
    guard result == 0 else {
      unsafe context.release()
      return false
    }
    pthread_detach(thread)
    unsafe wait(turn)
    return true
  }

  /// Stands still under that name, called on its own thread.
  func stop(_ tag: String) {
    self.tag = tag
    unsafe sem_post(turn)
    unsafe wait(go)
    self.tag = nil
  }

  /// Goes on until it ends or stands still again.
  func resume() {
    unsafe sem_post(go)
    unsafe wait(turn)
  }

  private func wait(_ semaphore: UnsafeMutablePointer<sem_t>) {
    while unsafe sem_wait(semaphore) != 0 && errno == EINTR {}
  }
}
