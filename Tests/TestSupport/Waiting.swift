// Tests that mostly wait for a program in a terminal, on threads of their own: the runner has as many
// threads as the machine has processors, and a test that waits on one of those keeps others from working.

import Foundation
import Synchronization
import Testing

/// Runs the tests of all such suites two at a time, each on a thread of its own, beside the others.
package struct Waiting: SuiteTrait, TestTrait, TestScoping {
  package var isRecursive: Bool { true }

  package func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    guard testCase != nil else { return try await function() }
    await Turnstile.waiting.enter()
    defer { Turnstile.waiting.leave() }
    try await withTaskExecutorPreference(ThreadExecutor.shared) { try await function() }
  }
}

extension Trait where Self == Waiting {
  /// The tests wait more than they work.
  package static var waits: Self { Waiting() }
}

/// Gives every piece of work a new thread.
private final class ThreadExecutor: TaskExecutor {
  static let shared = ThreadExecutor()

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    Thread.detachNewThread { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }
}

/// Lets in two at a time, in the order in which they come: while the one waits for its terminal the other works.
private final class Turnstile: Sendable {
  static let waiting = Turnstile()

  private let state = Mutex<(free: Int, queue: [CheckedContinuation<Void, Never>])>((2, []))

  func enter() async {
    await withCheckedContinuation { continuation in
      let isFree = state.withLock { state in
        guard state.free == 0 else {
          state.free -= 1
          return true
        }
        state.queue.append(continuation)
        return false
      }
      if isFree { continuation.resume() }
    }
  }

  func leave() {
    let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard state.queue.isEmpty else { return state.queue.removeFirst() }
      state.free += 1
      return nil
    }
    next?.resume()
  }
}
