// Which guest ranges lie where in the file, as `qatlas map` tells it: the extents of `qemu-img map`,
// merged by its rules, one line each, streamed while they are found.

import Cartography
package import Qcow
import QcowFormat
import Storage

/// Walks an image and prints its extents.
package struct MapText {
  /// Lines for people, or one JSON list.
  package enum Format: Sendable { case human, json }

  /// The disk and what lies below it; never empty.
  let layers: [any GuestLayer]
  let format: Format

  /// The map of an image and the layers below it.
  package init(_ image: Image, format: Format) { self.init(image.layers, format: format) }

  package init(_ layers: [any GuestLayer], format: Format) {
    self.layers = layers
    self.format = format
  }

  /// Prints the extents from `start` on, `length` bytes at most, in pieces through `output`.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read, and in lines for people for clusters that have
  ///   no place. What was found before is printed.
  package func write(
    from start: UInt64, length: UInt64?, to output: (UnsafeRawBufferPointer) -> Void
  ) throws(ImageError) {
    let size = layers.first?.virtualSize ?? 0
    let left = size > start ? size - start : 0
    let end = start + min(left, length ?? left)
    var lines = LineBuffer()
    defer { unsafe lines.flush(to: output) }
    switch format {
    case .human: lines.append("Offset          Length          Mapped to       File\n")
    case .json: lines.append("[")
    }
    var walk = ChainWalk(layers)
    let names = walk.fileNames.map { Escaping.lines(Escaping.human($0)) }
    try walk.each(from: start, to: end) { (extent, isLast) throws(ImageError) in
      switch format {
      case .human: try Self.human(extent, names[extent.depth], &lines)
      case .json: Self.json(extent, isLast: isLast, &lines)
      }
      unsafe lines.pass(to: output)
    }
    if format == .json { lines.append("]\n") }
  }

  private static func human(
    _ extent: Extent, _ fileName: [UInt8], _ lines: inout LineBuffer
  ) throws(ImageError) {
    if extent.isMissing && extent.length > 0 {
      lines.append(hex: extent.start, width: 16)
      lines.append(hex: extent.length, width: 16)
      lines.append("-               needs the missing layer '")
      lines.append(fileName)
      lines.append("'\n")
    }
    guard extent.isData, !extent.isZero else { return }
    guard let offset = extent.offset else {
      throw ImageError(.unsupported, "File contains external, encrypted or compressed clusters.")
    }
    lines.append(hex: extent.start, width: 16)
    lines.append(hex: extent.length, width: 16)
    lines.append(hex: offset, width: 16)
    lines.append(fileName)
    lines.append("\n")
  }

  /// The line of the genuine tool.
  private static func json(_ extent: Extent, isLast: Bool, _ lines: inout LineBuffer) {
    lines.append("{ \"start\": ")
    lines.append(extent.start)
    lines.append(", \"length\": ")
    lines.append(extent.length)
    lines.append(", \"depth\": ")
    lines.append(UInt64(extent.depth))
    // The states that most lines have, in one piece.
    if extent.isPresent, extent.isData, !extent.isZero, !extent.isCompressed {
      lines.append(", \"present\": true, \"zero\": false, \"data\": true, \"compressed\": false")
    } else if !extent.isPresent, !extent.isData, extent.isZero, !extent.isCompressed {
      lines.append(", \"present\": false, \"zero\": true, \"data\": false, \"compressed\": false")
    } else {
      lines.append(extent.isPresent ? ", \"present\": true" : ", \"present\": false")
      lines.append(extent.isZero ? ", \"zero\": true" : ", \"zero\": false")
      lines.append(extent.isData ? ", \"data\": true" : ", \"data\": false")
      lines.append(extent.isCompressed ? ", \"compressed\": true" : ", \"compressed\": false")
    }
    if let offset = extent.offset {
      lines.append(", \"offset\": ")
      lines.append(offset)
    }
    if extent.isMissing { lines.append(", \"missing\": true") }
    lines.append(isLast ? "}" : "},\n")
  }
}
