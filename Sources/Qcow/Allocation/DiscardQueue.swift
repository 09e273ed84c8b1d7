// Giving bytes back to the host: which frees do, and together with which others.

import QcowFormat
import Storage

/// Who frees a cluster, which decides whether its bytes are given back to the host.
enum FreeClass {
  case never, always, request, snapshot, other
}

/// Frees that wait to be given back to the host.
final class DiscardQueue {
  private let storage: any Storage
  private let options: Image.Options
  private let rules: MappingRules
  private var ranges: [(start: HostOffset, end: HostOffset)] = []
  /// What ``WrongOrder/stalePunch`` puts off: of this request, and of the one before it.
  private var late:
    (now: [(start: HostOffset, end: HostOffset)], due: [(start: HostOffset, end: HostOffset)]) =
      ([], [])
  /// Several frees are under way and are given back together at their end.
  private(set) var isCollecting = false

  init(_ storage: any Storage, _ options: Image.Options, _ rules: MappingRules) {
    self.storage = storage
    self.options = options
    self.rules = rules
  }

  /// Whether frees of a kind reach the host.
  func passes(_ freeClass: FreeClass) -> Bool {
    switch freeClass {
    case .never: return false
    case .always: return true
    case .request: return options.discard == .unmap && options.passDiscardRequest
    case .snapshot: return options.passDiscardSnapshot
    case .other: return options.passDiscardOther
    }
  }

  /// Joins a range to the last one if they touch.
  func add(_ offset: HostOffset, _ length: ByteCount) {
    let end = offset + length
    if let last = ranges.last, offset <= last.end, last.start <= end {
      ranges[ranges.count - 1] = (min(last.start, offset), max(last.end, end))
    } else {
      ranges.append((offset, end))
    }
  }

  /// What waits stays where it is.
  func forget() { ranges = [] }

  /// Gives back what waits. Throws what the host says; what is left is forgotten then. A fault that was asked for
  /// keeps only its own range, as with the genuine tool: nothing is lost where nothing is given back.
  func process() throws(ImageError) {
    let waiting = ranges
    ranges = []
    if !rules.wrongOrders.isEmpty, rules.wrongOrders.contains(.stalePunch) {
      late.now += waiting
    } else {
      try punch(waiting)
    }
  }

  /// At the end of a request: gives back what the request before it has freed. Throws as ``process()``.
  func processLate() throws(ImageError) {
    let due = late.due
    late = ([], late.now)
    try punch(due)
  }

  private func punch(_ waiting: [(start: HostOffset, end: HostOffset)]) throws(ImageError) {
    for range in waiting {
      do throws(StorageError) {
        try storage.punch(
          at: range.start.value, count: range.end - range.start,
          tag: WriteTag(.data, .discard, table: range.start.value))
      } catch {
        if !error.isInjected { throw ImageError(error) }
      }
    }
  }

  /// Runs an operation that frees clusters and gives them back together at its end; after an error none.
  /// Throws what the operation throws, and as ``process()``.
  func collecting(_ body: () throws(ImageError) -> Void) throws(ImageError) {
    isCollecting = true
    do throws(ImageError) {
      try body()
    } catch {
      isCollecting = false
      ranges = []
      throw error
    }
    isCollecting = false
    try process()
  }
}
