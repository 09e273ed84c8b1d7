// Tests that mostly wait for a program in a terminal, on threads of their own: the runner has as many
// threads as the machine has processors, and a test that waits on one of those keeps others from working.

import Foundation
import Synchronization
import Testing

/// Runs every test of a suite on a thread of its own, two of all such suites at a time.
package struct Waiting: SuiteTrait, TestTrait, TestScoping {
  package var isRecursive: Bool { true }

  package func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    guard testCase != nil else { return try await function() }
    await Turnstile.terminals.enter()
    defer { Turnstile.terminals.leave() }
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

/// Lets in as many at a time as there are places.
private final class Turnstile: Sendable {
  static let terminals = Turnstile(places: 2)

  private let state: Mutex<(places: Int, queue: [CheckedContinuation<Void, Never>])>

  init(places: Int) { state = Mutex((places, [])) }

  func enter() async {
    await withCheckedContinuation { continuation in
      let isFree = state.withLock { state in
        guard state.places > 0 else {
          state.queue.append(continuation)
          return false
        }
        state.places -= 1
        return true
      }
      if isFree { continuation.resume() }
    }
  }

  func leave() {
    let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard state.queue.isEmpty else { return state.queue.removeFirst() }
      state.places += 1
      return nil
    }
    next?.resume()
  }
}
