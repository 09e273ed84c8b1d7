// Looking up and reading: runs of the mapping must tile the disk, and what is read must not depend on
// how the request is cut.

import Cartography
import Explorer
import Qcow
import QcowFormat
import Storage
import ToolText

extension FuzzTarget {
  /// Runs that one input may make the target walk.
  private static let runLimit = 600

  func runLookup(_ input: [UInt8]) throws {
    let storage = SmallStorage(input)
    let options = openOptions(storage, writable: false, layers: MemoryLayers())
    guard let image = try? Image(storage, options: options) else { return }
    let size = image.geometry.virtualSize
    let span = image.geometry.bytesPerL2Table
    var left = Self.runLimit
    try walk(image, from: 0, &left)
    var tables = 0
    for index in 0..<image.l1Count where image.l1Entry(index).raw != 0 {
      tables += 1
      guard tables <= 16, left > 0 else { break }
      let (start, overflow) = UInt64(index).multipliedReportingOverflow(by: span)
      guard !overflow, start < size else { break }
      left = min(left, 100)
      try walk(image, from: start, &left)
      left = Self.runLimit - tables * 30
      let atlas = Atlas(image)
      if var view = try? L2View(atlas, l1Index: index) {
        view.isFolded = index % 2 == 0
        for number in 0..<min(view.rowCount, 40) {
          if let row = view.row(number) { _ = view.text(of: row) }
          _ = view.detail(of: number, subcluster: number & 31)
        }
      }
    }
    if size > 0 {
      left = 4
      try walk(image, from: size - 1, &left)
    }
    var printed = 0
    try? MapText(image, format: .json).write(from: 0, length: 256 * span) { printed += $0.count }
  }

  /// Follows runs and reads from each.
  private func walk(_ image: Image, from start: UInt64, _ left: inout Int) throws {
    let size = image.geometry.virtualSize
    var position = start
    while position < size, left > 0 {
      left -= 1
      let limit = ByteCount(min(size - position, 1 << 20))
      guard let run = try? image.mapping(at: GuestOffset(position), limit: limit) else {
        // Damage in one entry hides nothing behind it.
        position += image.geometry.subclusterSize - position % image.geometry.subclusterSize
        continue
      }
      try require(
        run.length > 0 && run.length <= limit && run.guest.value == position,
        "a run of \(run.length.value) bytes at \(position) for a request of \(limit.value)")
      _ = try? image.layerExtent(at: GuestOffset(position), limit: limit)
      _ = try? image.answer(at: GuestOffset(position))
      _ = try? image.l2Entry(at: GuestOffset(position))
      let count = Int(min(4096, size - position))
      let whole = read(image, position, count)
      if run.state.readsAsZero, ByteCount(count) <= run.length, let whole {
        try require(whole.allSatisfy { $0 == 0 }, "a zero run at \(position) that does not read as zeroes")
      }
      let cut = count / 3
      if count > 2, let whole, let first = read(image, position, cut),
        let second = read(image, position + UInt64(cut), count - cut)
      {
        try require(first + second == whole, "two reads at \(position) differ from one")
      }
      position += run.length.value
    }
  }
}

/// Guest bytes; nil if they cannot be read.
func read(_ image: Image, _ offset: UInt64, _ count: Int) -> [UInt8]? {
  var bytes = [UInt8](repeating: 0xee, count: count)
  let isRead =
    bytes.withUnsafeMutableBytes { buffer in try? image.read(at: GuestOffset(offset), into: buffer) } != nil
  return isRead ? bytes : nil
}
