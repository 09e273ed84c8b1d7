// How a copy of a disk ends when it cannot go on: what was being done, and where on the disk.

/// What was being done when a copy failed.
package enum CopyStep: Sendable {
  /// Asking the tables of a source what it holds.
  case lookup
  case read
  case write
}

/// A copy that failed, or in a copy that goes on regardless: a part that was lost.
package struct CopyFailure: Error, Sendable {
  /// What was being done.
  package var step: CopyStep
  /// The byte where it failed: of the target, or with several sources and ``isInSource`` of the one source.
  package var offset: UInt64
  /// Why.
  package var error: ImageError
}
