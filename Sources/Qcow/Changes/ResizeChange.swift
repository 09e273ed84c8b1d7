// Changing the size of the disk as a verb. A smaller disk loses data, so that it has to be asked for by name.

package import QcowFormat

/// A size of a disk in bytes, or a change of it.
package enum DiskSize: Hashable, Sendable {
  case to(UInt64)
  case larger(by: UInt64)
  case smaller(by: UInt64)

  /// The size that a disk of the size `old` gets.
  /// - Throws: ``ImageError`` with the code ``ImageError/Code/option`` if there is no such disk.
  package func target(from old: ByteCount) throws(ImageError) -> ByteCount {
    switch self {
    case .to(let size):
      guard size > 0 else { throw ImageError(.option, "New image size must be positive") }
      return ByteCount(size)
    case .larger(let amount):
      let (sum, overflow) = old.value.addingReportingOverflow(amount)
      guard !overflow, sum <= UInt64(Int64.max) else {
        throw ImageError(.option, "the new size is too large")
      }
      return ByteCount(sum)
    case .smaller(let amount):
      guard amount < old.value else { throw ImageError(.option, "New image size must be positive") }
      return old - ByteCount(amount)
    }
  }

  /// As it is typed, in whole units where that says all: `64k`, `+1G`, `-512`.
  package var text: String {
    switch self {
    case .to(let size): Self.short(ByteCount(size))
    case .larger(let amount): "+" + Self.short(ByteCount(amount))
    case .smaller(let amount): "-" + Self.short(ByteCount(amount))
    }
  }

  /// A number of bytes that reads back exactly: `64k`, `1M`, `133120` stays `130k`.
  package static func short(_ count: ByteCount) -> String {
    let length = count.value
    for (shift, letter) in [(UInt64(40), "T"), (30, "G"), (20, "M"), (10, "k")]
    where length > 0 && length & ((1 << shift) - 1) == 0 {
      return "\(length >> shift)\(letter)"
    }
    return "\(length)"
  }
}

/// Makes the disk of an image larger or smaller.
package struct Resize: Change {
  /// The size wanted, or how it changes.
  package let size: DiskSize
  /// A smaller disk was asked for by name.
  package let maySqueeze: Bool
  /// What is allocated for the new area.
  package let preallocation: Image.CreateOptions.Preallocation

  /// What people are told of it.
  package static let words = ChangeWords(
    "resize", arguments: [.init("SIZE", .size)],
    options: [
      .init(
        "--shrink", "allow a smaller disk, which loses what lies behind its new end",
        sentence: "Allow a smaller disk, which loses what lies behind its new end.")
    ], hint: "resize", help: "change the size of the disk: a size, or a change with + or - in front",
    abstract: "Change the size of an image's disk.",
    discussion: "SIZE is a size (64k, 1.5G), or a change with + or - in front.")

  package init(
    _ size: DiskSize, maySqueeze: Bool = false, preallocation: Image.CreateOptions.Preallocation = .off
  ) {
    self.size = size
    self.maySqueeze = maySqueeze
    self.preallocation = preallocation
  }

  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) {
    self.init(try values.size(0), maySqueeze: values.flags.contains("--shrink"))
  }

  package var arguments: [String] { (maySqueeze ? ["--shrink"] : []) + [size.text] }

  package func refusal(of image: Image) -> String? {
    let old = ByteCount(image.geometry.virtualSize)
    do throws(ImageError) {
      if try size.target(from: old) < old && !maySqueeze {
        return "a smaller disk loses what lies behind its new end; --shrink allows it"
      }
    } catch { return error.description }
    return ChangeWords.readOnly(image)
  }

  package func run(on image: Image) throws(ImageError) {
    try image.resize(
      to: try size.target(from: ByteCount(image.geometry.virtualSize)), preallocation: preallocation)
  }
}
