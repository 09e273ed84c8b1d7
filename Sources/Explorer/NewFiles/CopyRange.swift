// `:dd`: a part of the disk that is shown, as raw bytes.

import Cartography
import Qcow
import QcowFormat
import Storage

/// Copies a range of the disk to a new raw file, byte for byte.
struct CopyRange: NewFileVerb {
  let target: String
  private let range: Range<UInt64>
  /// Bytes of a write.
  private static let block: UInt64 = 1 << 20

  /// What people are told of it.
  static let words = ChangeWords(
    "dd", arguments: [.init("OFF", .offset), .init("LEN", .size), .init("FILE", .file)], hint: "copy range",
    help: "copy LEN bytes of the disk from guest offset OFF on to a new raw file; ! replaces an existing file"
  )

  /// Takes the values that were given.
  /// - Throws: ``ImageError`` for a range without a byte.
  init(_ values: ChangeValues) throws(ImageError) {
    guard case .to(let start) = try values.size(0), case .to(let length) = try values.size(1), length > 0,
      !start.addingReportingOverflow(length).overflow
    else { throw ImageError(.option, "OFF and LEN are bytes of the disk, and LEN is at least 1") }
    range = start..<start + length
    target = try values.text(2)
  }

  func refusal(of scene: Scene) -> String? {
    guard range.upperBound <= scene.image.virtualSize else {
      return "the range ends behind the end of the disk at 0x\(Notation.hex(scene.image.virtualSize))"
    }
    return NewFileVerbs.noData(scene.image)
  }

  func foretold(of scene: Scene, unless stops: (Double) -> Bool) throws(ImageError) -> [String] {
    let clusterSize = scene.geometry.clusterSize
    let clusters = (range.upperBound + (clusterSize - 1)) / clusterSize - range.lowerBound / clusterSize
    return [
      "a raw file of \(range.count) bytes",
      "read from \(counted(clusters, "cluster")) of the disk; zeroes are written like all other bytes",
    ]
  }

  func write(
    _ scene: Scene, to file: any Storage, unless stops: @escaping (Double) -> Bool
  ) throws(ImageError) -> String {
    var opening = Image.Options()
    opening.writable = true
    let disk = RawDisk(file, opening, isGuessed: false)
    try disk.resize(to: ByteCount((UInt64(range.count) + 511) & ~511), preallocation: .off)
    var copy = BlockCopy(from: scene.image, to: disk, blockSize: ByteCount(Self.block))
    copy.stops = stops
    try NewFileVerbs.copying { () throws(CopyFailure) in
      try copy.run(GuestOffset(range.lowerBound)..<GuestOffset(range.upperBound))
    }
    try disk.close()
    do throws(StorageError) { try file.truncate(to: UInt64(range.count), tag: .untagged) } catch {
      throw ImageError(error)
    }
    return "\(range.count) bytes from guest 0x\(Notation.hex(range.lowerBound)) on"
  }
}
