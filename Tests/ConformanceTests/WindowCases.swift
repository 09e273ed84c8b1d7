// Every pair of states that the first and the last cluster of a window of three can have, every
// operation, and every alignment of its two ends: one image holds all windows of one kind.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport

/// What a cluster is before the operation.
enum ClusterState: String, CaseIterable {
  /// Nothing was done: unallocated, or mapped and unallocated in a preallocated image.
  case untouched
  case data, zero
  /// Reads as zeroes and keeps its host cluster.
  case zeroMapped
  /// Some subclusters hold data, some are zeroes, some neither; with a host cluster.
  case partly
  /// Some subclusters are zeroes, the others nothing; without a host cluster of its own.
  case partlyZero
  case compressed

  /// The requests that make it.
  func requests(at start: UInt64, _ size: UInt64, extended: Bool) -> [GuestRequest] {
    let part = size / 32
    switch self {
    case .untouched: return []
    case .data: return [.write(offset: start, count: size, byte: 0x11)]
    case .zero: return [.zero(offset: start, count: size, mayUnmap: true)]
    case .zeroMapped:
      return [
        .write(offset: start, count: size, byte: 0x12), .zero(offset: start, count: size, mayUnmap: false),
      ]
    case .partly:
      return [
        .write(offset: start + 2 * part, count: 3 * part, byte: 0x13),
        .zero(offset: start + 4 * part, count: 2 * part, mayUnmap: false),
        .write(offset: start + 20 * part, count: 5 * part, byte: 0x14),
        .zero(offset: start + 30 * part, count: 2 * part, mayUnmap: false),
      ]
    case .partlyZero:
      return [
        .zero(offset: start, count: 3 * part, mayUnmap: false),
        .zero(offset: start + 29 * part, count: 3 * part, mayUnmap: false),
      ]
    case .compressed: return [.compress(offset: start, count: size, byte: 0x15)]
    }
  }
}

/// An operation on a window.
enum WindowOperation: String, CaseIterable {
  case write, zero, zeroUnmap, discard

  func request(_ offset: UInt64, _ count: UInt64) -> GuestRequest {
    switch self {
    case .write: .write(offset: offset, count: count, byte: 0x77)
    case .zero: .zero(offset: offset, count: count, mayUnmap: false)
    case .zeroUnmap: .zero(offset: offset, count: count, mayUnmap: true)
    case .discard: .discard(offset: offset, count: count)
    }
  }
}

/// One window: what it is and what happens to it.
struct WindowCase {
  var first: ClusterState
  var last: ClusterState
  var operation: WindowOperation
  /// Bytes from the window's start to where the operation begins, and to where it ends.
  var head: UInt64
  var tail: UInt64
  /// Guest offset of the window.
  var start: UInt64 = 0

  var request: GuestRequest { operation.request(start + head, tail - head) }
  var description: String {
    "\(first.rawValue)+\(last.rawValue) \(operation.rawValue) \(head)..<\(tail) at \(start)"
  }
}

/// A kind of image with windows of all cases that it can have.
struct WindowImage {
  static let clusterSize: UInt64 = 16384
  static let window = 3 * clusterSize

  var isExtended: Bool
  var isPreallocated: Bool
  var hasBacking: Bool
  var hasSnapshot: Bool
  let cases: [WindowCase]

  var name: String {
    (isExtended ? "extended" : "standard") + (isPreallocated ? ", preallocated" : "")
      + (hasBacking ? ", backing" : "") + (hasSnapshot ? ", snapshot" : "")
  }
  var size: UInt64 { UInt64(cases.count) * Self.window }

  init(extended: Bool, preallocated: Bool, backing: Bool, snapshot: Bool) {
    isExtended = extended
    isPreallocated = preallocated
    hasBacking = backing
    hasSnapshot = snapshot
    var states: [ClusterState] = [.untouched, .data, .zero, .zeroMapped]
    if extended { states += preallocated ? [.partly] : [.partly, .partlyZero] }
    if !preallocated { states.append(.compressed) }
    let part = Self.clusterSize / 32
    var cases: [WindowCase] = []
    for first in states {
      for last in states {
        for operation in WindowOperation.allCases {
          // On a cluster, on a subcluster, inside a subcluster.
          for head in [0, 3 * part, 3 * part + 200] {
            for tail in [Self.window, Self.window - 3 * part, Self.window - 3 * part + 200] {
              let start = UInt64(cases.count) * Self.window
              cases.append(
                WindowCase(
                  first: first, last: last, operation: operation, head: head, tail: tail, start: start))
            }
          }
        }
      }
    }
    self.cases = cases
  }

  /// What makes the states. The middle cluster is in the state of the first.
  var preparation: [GuestRequest] {
    cases.flatMap { window in
      [window.first, window.first, window.last].enumerated().flatMap { index, state in
        state.requests(
          at: window.start + UInt64(index) * Self.clusterSize, Self.clusterSize, extended: isExtended)
      }
    }
  }
  var operations: [GuestRequest] { cases.map(\.request) }

  static var all: [WindowImage] {
    var all: [WindowImage] = []
    for backing in [false, true] {
      for snapshot in [false, true] {
        all.append(WindowImage(extended: false, preallocated: false, backing: backing, snapshot: snapshot))
        all.append(WindowImage(extended: true, preallocated: false, backing: backing, snapshot: snapshot))
        all.append(WindowImage(extended: true, preallocated: true, backing: backing, snapshot: snapshot))
      }
    }
    return all
  }
}

/// The guest's disk as plain bytes, and what requests do to it.
struct RawTwin {
  private(set) var bytes: [UInt8]

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func apply(_ request: GuestRequest, clusterSize: UInt64, discards: Bool) {
    switch request {
    case .write(let offset, let count, let byte), .compress(let offset, let count, let byte):
      fill(offset, offset + count, byte)
    case .zero(let offset, let count, _): fill(offset, offset + count, 0)
    case .discard(let offset, let count):
      guard discards else { return }
      let first = (offset + clusterSize - 1) / clusterSize * clusterSize
      fill(first, max(first, (offset + count) / clusterSize * clusterSize), 0)
    case .compressMixed(let offset, let count, let source):
      bytes.replaceSubrange(
        Int(offset)..<Int(offset + count), with: MixedBytes.sources[source].prefix(Int(count)))
    case .flush: break
    }
  }

  private mutating func fill(_ start: UInt64, _ end: UInt64, _ byte: UInt8) {
    guard start < end else { return }
    bytes.withUnsafeMutableBytes {
      let range = UnsafeMutableRawBufferPointer(rebasing: $0[Int(start)..<Int(end)])
      // Much faster without optimization than anything of the standard library.
      if let first = range.baseAddress { _ = memset(first, Int32(byte), range.count) }
    }
  }
}
