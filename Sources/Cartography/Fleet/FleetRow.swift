// What is known of one image among many: a row of the fleet. The lines of `qatlas fleet` and the list in the explorer
// are made of it.

package import Qcow
import QcowFormat

/// One file, and what was found in it. What is nil is not known.
package struct FleetRow: Sendable {
  /// The name it was found by.
  package let path: String
  /// Why nothing more is known of it.
  package internal(set) var error: String?
  /// The format by the first bytes.
  package internal(set) var format: String?
  /// Bytes of the file when it was looked at.
  package internal(set) var bytes: UInt64?
  /// When its bytes were last changed, in nanoseconds since 1970.
  package internal(set) var modified: Int64?
  /// Says whether the files that were looked at are still the same; empty if nobody can say. See ``FleetStamp``.
  package internal(set) var stamp = ""
  /// Bytes that the host keeps for the file.
  package internal(set) var hostBytes: UInt64?
  /// The same of its external data file.
  package internal(set) var dataHostBytes: UInt64?
  /// The external data file by its path, open or not.
  package internal(set) var dataFile: String?

  /// The version of the format.
  package internal(set) var version: UInt32?
  /// Its incompatible features by name.
  package internal(set) var features: [String] = []
  /// Bytes of a cluster.
  package internal(set) var clusterSize: UInt64?
  /// Bytes of the disk.
  package internal(set) var virtualSize: UInt64?
  /// The disk is encrypted.
  package internal(set) var isEncrypted: Bool?
  /// The refcounts may be too low.
  package internal(set) var isDirty: Bool?
  /// The image was marked as damaged.
  package internal(set) var isCorrupt: Bool?
  /// Another program writes it, so that its tables may change while they are read.
  package internal(set) var isLocked = false

  /// The backing file as the image names it.
  package internal(set) var backing: String?
  /// The backing file by its real path, or as it would be looked for if it is not there.
  package internal(set) var parent: String?
  /// The layers below the image by their paths, the next one first. The last may be closed.
  package internal(set) var chain: [String] = []
  /// Why the last of ``chain`` was not opened; nil if all were.
  package internal(set) var chainProblem: String?
  /// How many snapshots the image has.
  package internal(set) var snapshots: Int?

  /// Bytes of the disk that have a place in the file.
  package internal(set) var mapped: UInt64?
  /// Bytes of the disk that read as zeroes by their entry.
  package internal(set) var zero: UInt64?
  /// Bytes of the disk that are compressed.
  package internal(set) var compressed: UInt64?
  /// Bytes of content that only snapshots keep.
  package internal(set) var snapshotBytes: UInt64?
  /// Bytes of clusters that are counted and that nobody uses.
  package internal(set) var leaked: UInt64?
  /// Bytes of free clusters in front of the last one in use.
  package internal(set) var freeInside: UInt64?
  /// Bytes that the file could be shorter at once.
  package internal(set) var freeAtEnd: UInt64?
  /// What of the file could be given back: ``leaked``, ``freeInside`` and ``freeAtEnd``.
  package var reclaimable: UInt64? {
    guard let leaked, let freeInside, let freeAtEnd else { return nil }
    return leaked &+ freeInside &+ freeAtEnd
  }

  /// Runs of clusters in the order of the disk.
  package internal(set) var runs: UInt64?
  /// The best number that there could be.
  package internal(set) var bestRuns: UInt64?
  /// Fragmented clusters in per cent, as a check says it.
  package internal(set) var fragmented: Double?

  /// What a check found; nil if none was made.
  package internal(set) var check: CheckResult?
  /// Why no check was made.
  package internal(set) var unchecked: String?
  /// What else has to be said of the figures, a sentence each.
  package internal(set) var notes: [String] = []
  /// Seconds that all this took.
  package internal(set) var seconds = 0.0

  package init(_ path: String) { self.path = path }

  /// A name of which nothing can be known, and why.
  package init(_ path: String, error: String) {
    self.path = path
    self.error = error
  }

  /// It is an image, as far as its first bytes say.
  package var isImage: Bool { format == "qcow2" }

  /// The same of a file that is called an image and does not begin as one.
  package var lackingHeader: FleetRow {
    var row = self
    if row.error == nil {
      row.error = "the name says qcow2, and the file does not begin as such an image does"
    }
    return row
  }

  /// The files that were looked at are still the same.
  package func holds(_ policy: ChainPolicy) -> Bool {
    FleetStamp.holds(stamp, of: path, chain: chain, dataFile: dataFile, policy)
  }

  /// What a check says in a word.
  package enum Verdict: String, Sendable, CaseIterable {
    case clean
    case leaks
    case errors
    case unchecked = "not checked"

    /// The worst last.
    package var severity: Int { Self.allCases.firstIndex(of: self) ?? 0 }
  }

  /// It cannot be used as it is: it cannot be read, has errors, is marked as damaged, or a file that it needs is missing.
  package var isBroken: Bool {
    error != nil || hasErrors || isCorrupt == true || lacksFile
  }

  /// The check found errors, or could not be made to its end.
  var hasErrors: Bool { check != nil && (verdict == .errors || verdict == .unchecked) }

  /// A layer below it or its data file was not opened.
  package var lacksFile: Bool { chainProblem != nil || dataFile != nil && dataHostBytes == nil }

  /// What the check says, by the order of its exit codes.
  package var verdict: Verdict {
    guard let check, check.failure == nil, check.checkErrors == 0 else { return .unchecked }
    return check.corruptions > 0 ? .errors : check.leaks > 0 ? .leaks : .clean
  }
}
