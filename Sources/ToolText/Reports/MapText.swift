// Which guest ranges lie where in the file, as `qatlas map` tells it: the extents of `qemu-img map`,
// merged by its rules, one line each, streamed while they are found.

import Cartography
package import Qcow
import QcowFormat
import Storage

/// Walks an image and prints its extents.
package struct MapText {
  package enum Format: Sendable { case human, json }

  /// A stretch of the disk in one state.
  package struct Extent: Equatable, Sendable {
    package var start: UInt64
    package var length: UInt64
    /// This file answers for the range, with data or with zeroes.
    package var isPresent = false
    package var isZero = false
    package var isData = false
    package var isCompressed = false
    /// Only a layer that is not there could answer.
    package var isMissing = false
    /// The layer that answers; 0 is the image itself.
    package var depth = 0
    /// Host offset of the first byte, where the range has one.
    package var offset: UInt64?
  }

  /// The disk and what lies below it; never empty.
  let layers: [any GuestLayer]
  let format: Format

  package init(_ image: Image, format: Format) { self.init(image.layers, format: format) }

  package init(_ layers: [any GuestLayer], format: Format) {
    self.layers = layers
    self.format = format
  }

  /// Prints the extents from `start` on, `length` bytes at most, in pieces through `output`.
  package func write(from start: UInt64, length: UInt64?, to output: (String) -> Void) throws(ImageError) {
    let size = layers.first?.virtualSize ?? 0
    let left = size > start ? size - start : 0
    let end = start + min(left, length ?? left)
    switch format {
    case .human: output("Offset          Length          Mapped to       File\n")
    case .json: output("[")
    }
    var walk = ChainWalk(layers)
    var current = Extent(start: start, length: 0)
    while current.start + current.length < end {
      let at = current.start + current.length
      let next = try walk.extent(at: at, limit: end - at)
      guard next.length > 0 else {
        throw ImageError(.corrupt, "no mapping found at guest offset 0x\(Notation.hex(at))")
      }
      if merges(current, next) {
        current.length += next.length
        continue
      }
      if current.length > 0 { try print(current, walk.fileNames, isLast: false, output) }
      current = next
    }
    try print(current, walk.fileNames, isLast: true, output)
    if format == .json { output("]\n") }
  }

  private func merges(_ current: Extent, _ next: Extent) -> Bool {
    guard current.length > 0, current.isZero == next.isZero, current.isData == next.isData,
      current.isPresent == next.isPresent, current.depth == next.depth, current.isMissing == next.isMissing,
      current.isCompressed == next.isCompressed,
      (current.offset == nil) == (next.offset == nil)
    else { return false }
    guard let offset = current.offset else { return true }
    return offset &+ current.length == next.offset
  }

  private func print(
    _ extent: Extent, _ fileNames: [String], isLast: Bool, _ output: (String) -> Void
  ) throws(ImageError) {
    let fileName = fileNames[extent.depth]
    switch format {
    case .human:
      if extent.isMissing && extent.length > 0 {
        output(
          Self.column(extent.start) + Self.column(extent.length)
            + "-               needs the missing layer '\(fileName)'\n")
      }
      guard extent.isData, !extent.isZero else { return }
      guard let offset = extent.offset else {
        throw ImageError(.unsupported, "File contains external, encrypted or compressed clusters.")
      }
      output(Self.column(extent.start) + Self.column(extent.length) + Self.column(offset) + fileName + "\n")
    case .json:
      var line = "{ \"start\": \(extent.start), \"length\": \(extent.length), \"depth\": \(extent.depth)"
      line += ", \"present\": \(extent.isPresent), \"zero\": \(extent.isZero), \"data\": \(extent.isData)"
      line += ", \"compressed\": \(extent.isCompressed)"
      if let offset = extent.offset { line += ", \"offset\": \(offset)" }
      if extent.isMissing { line += ", \"missing\": true" }
      output(line + (isLast ? "}" : "},\n"))
    }
  }

  /// A number in hexadecimal, 16 columns wide; zero has no "0x".
  private static func column(_ value: UInt64) -> String {
    let text = value == 0 ? "0" : "0x" + Notation.hex(value)
    return text + String(repeating: " ", count: max(0, 16 - text.utf8.count))
  }
}
