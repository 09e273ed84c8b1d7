// The lab: one workload on several policies at once, request by request on all of them, in slices short
// enough for a loop that also answers keys.

import Glibc
import Qcow

/// A run of a workload on the images of several policies.
package final class Lab {
  /// What is run.
  package let configuration: LabConfiguration
  /// One run per policy, in the order of the configuration.
  package let runs: [LabRun]
  /// Requests done.
  package private(set) var operation = 0
  /// The last request.
  package private(set) var request: Request?
  private var requests: LabRequests
  /// How many runs were measured at ``operation``.
  private var measured = 0
  private var points = 0
  private let zeroes = UntouchedZeroes()

  /// Makes the images. Linear in the clusters of the disk.
  ///
  /// - Throws: ``CommandError`` for a configuration that makes no sense, or for an image that cannot be made.
  package init(_ configuration: LabConfiguration) throws(CommandError) {
    try configuration.check()
    self.configuration = configuration
    requests = LabRequests(configuration)
    var made: [LabRun] = []
    for policy in configuration.policies {
      do throws(ImageError) { made.append(try LabRun(policy, configuration)) } catch {
        throw CommandError("policy \(policy.rawValue): \(error.description)")
      }
    }
    runs = made
  }

  /// Requests until the end.
  package var total: Int { configuration.total }
  /// All requests are done and measured.
  package var isDone: Bool { operation >= total && isMeasured }
  /// The figures of all runs are those after the last request.
  package var isMeasured: Bool { measured == runs.count }

  /// The request count of the next point of the curve.
  private var nextPoint: Int {
    let last = min(configuration.samples - 1, total)
    return points > last ? .max : last == 0 ? 0 : Int(Int64(points) * Int64(total) / Int64(last))
  }

  /// Does requests until `limit` are done, and measures behind the last one, or works for about the given time.
  ///
  /// - Returns: true if nothing is left to do up to `limit`.
  /// - Throws: the first error of an image, with its policy and the number of the request.
  package func advance(to limit: Int, budgetNanoseconds: UInt64) throws(CommandError) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    let limit = min(limit, total)
    repeat {
      let isPoint = operation == nextPoint
      if !isMeasured && (isPoint || operation >= limit) {
        let left = clock.now.duration(to: end).components
        let nanoseconds = max(1_000_000, left.seconds * 1_000_000_000 + left.attoseconds / 1_000_000_000)
        if try failing({ () throws(ImageError) in
          try runs[measured].measure(operation, budgetNanoseconds: UInt64(nanoseconds))
        }) {
          measured += 1
        }
      } else if isPoint {
        for run in runs { run.keepSample() }
        points += 1
      } else if operation >= limit {
        return true
      } else {
        try performNext()
      }
    } while clock.now < end
    return operation >= limit && isMeasured && operation != nextPoint
  }

  private func performNext() throws(CommandError) {
    guard let next = requests.next() else {
      throw CommandError("the workload ended after \(operation) operations")
    }
    operation += 1
    request = next
    if case .write = next.kind, !zeroes.grow(to: Int(next.length)) {
      throw CommandError("there is no memory for a write of \(next.length) bytes")
    }
    for index in runs.indices {
      measured = index
      try failing { () throws(ImageError) in
        try runs[index].perform(next, zeroes)
      }
    }
    measured = 0
  }

  private func failing<T>(_ body: () throws(ImageError) -> T) throws(CommandError) -> T {
    do throws(ImageError) { return try body() } catch {
      let policy = runs[min(measured, runs.count - 1)].policy.rawValue
      throw CommandError("policy \(policy), operation \(operation): \(error.description)")
    }
  }
}

/// Bytes to write that nobody looks at, so that they take no memory however many there are.
@safe final class UntouchedZeroes {
  private var buffer = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)

  deinit { unsafe free(buffer.baseAddress) }

  /// Makes room for `count` bytes; false if there is none.
  func grow(to count: Int) -> Bool {
    guard unsafe count > buffer.count else { return true }
    unsafe free(buffer.baseAddress)
    let memory = unsafe calloc(count, 1)
    unsafe buffer = UnsafeMutableRawBufferPointer(start: memory, count: memory == nil ? 0 : count)
    return unsafe memory != nil
  }

  /// The first `count` bytes, at most those there is room for.
  func withBytes(_ count: Int, _ body: (UnsafeRawBufferPointer) throws(ImageError) -> Void) throws(ImageError)
  {
    try unsafe body(UnsafeRawBufferPointer(rebasing: buffer[..<min(count, buffer.count)]))
  }
}
