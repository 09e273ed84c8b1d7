// One operation of a session: what it did, in words, and what taking it back and doing it again needs.

package import Cartography
package import Qcow
package import Storage

/// One operation of a session.
package struct SessionStep {
  /// What it did to the bytes.
  package let operations: FileOperation
  /// The line that asks for it.
  package let title: String
  /// Bytes of the disk that it is about; nil if it is about the image as a whole.
  package let range: Range<UInt64>?
  /// The first of them.
  package var place: UInt64? { range?.lowerBound }
  /// What was known besides the file before it.
  package let before: Image.SessionState
  /// The same afterwards.
  package let after: Image.SessionState
  /// What it did in words.
  package let narration: Narration
  /// What has to be known besides its title to do it again.
  let circumstances: Circumstances
  /// Steps in a row that are done and taken back together have the same number.
  package var group: Int?
}
