// Copies the disk of a salvaged image to a raw file: what cannot be read is passed, listed, and stays a hole.

package import QcowFormat
package import Storage

/// A copy of a disk that may be damaged.
package struct SalvageExport {
  /// More rows of bytes are not listed.
  private static let maximumListed = 4096

  /// Rows of the disk that could not be read, in bytes.
  package private(set) var lost: [Range<UInt64>] = []
  /// Bytes of all of them.
  package private(set) var lostBytes: UInt64 = 0

  package init() {}

  /// Copies the disk to an empty file. `tells` hears how many bytes are done, and of how many.
  ///
  /// - Throws: ``CopyFailure`` for a file that cannot be written.
  package mutating func run(
    _ image: Image, to file: any Storage, _ tells: @escaping (_ done: ByteCount, _ total: ByteCount) -> Void
  ) throws(CopyFailure) {
    var target = Image.Options()
    target.writable = true
    let disk = RawDisk(file, target, isGuessed: false)
    try Self.writing { () throws(ImageError) in
      try disk.resize(to: ByteCount(image.virtualSize), preallocation: .off)
    }
    let failures = Failures()
    var options = CopyOptions()
    options.targetIsZero = true
    options.lost = { failures.add($0) }
    let copy = try GuestCopy([image], to: disk, options)
    copy.tells = { tells(ByteCount($0), ByteCount($1)) }
    while try copy.step() {}
    try copy.finish()
    try Self.writing { () throws(ImageError) in try disk.close() }
    lost = failures.list
    lostBytes = failures.bytes
  }

  private static func writing(_ work: () throws(ImageError) -> Void) throws(CopyFailure) {
    do throws(ImageError) { try work() } catch { throw CopyFailure(step: .write, offset: 0, error: error) }
  }

  /// Collects what the copy could not read, sector by sector.
  private final class Failures {
    var list: [Range<UInt64>] = []
    var bytes: UInt64 = 0

    func add(_ failure: CopyFailure) {
      // What could not be looked up is read all the same.
      guard failure.step == .read else { return }
      let range = failure.offset..<failure.offset &+ UInt64(ZeroSearch.sector)
      bytes &+= UInt64(ZeroSearch.sector)
      if let last = list.last, last.upperBound == range.lowerBound {
        list[list.count - 1] = last.lowerBound..<range.upperBound
      } else if list.count < SalvageExport.maximumListed {
        list.append(range)
      }
    }
  }
}
