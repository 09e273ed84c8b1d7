// What the genuine tools would be asked to do for an operation, and whether they came to the same files.

package import Storage

/// Words for the genuine tools that do what the engine has done, and the files that they begin with.
package struct ToolWork {
  /// One program with its words; it runs where the files are.
  package struct Command: Equatable, Sendable {
    /// qemu-img or qemu-io.
    package var program: String
    package var arguments: [String]
  }

  /// The files before.
  package let start: Workbench
  /// One after the other.
  package let commands: [Command]

  /// What a line of an image block asks for; nil for one that is done to bytes.
  init?(_ line: String, on start: Workbench) {
    self.start = start
    let words = Workbench.words(line)
    switch words.first {
    case "img": commands = [Command(program: "qemu-img", arguments: Array(words.dropFirst()))]
    case "io":
      guard let colon = line.firstIndex(of: ":") else { return nil }
      let head = Workbench.words(String(line[..<colon])).dropFirst()
      var arguments = Array(head)
      if let name = head.last, head.count == 1, let file = start.files[name], ImageBytes(file) == nil {
        arguments = ["-f", "raw", name]
      }
      let requests = line[line.index(after: colon)...].split(separator: ";").map {
        String($0.drop { $0 == " " })
      }
      commands = [Command(program: "qemu-io", arguments: requests.flatMap { ["-c", $0] } + arguments)]
    default: return nil
    }
  }

  /// A session of requests on a file.
  init(
    session requests: [String], on start: Workbench, _ name: String, _ options: String, isReadOnly: Bool,
    crashes: Bool
  ) {
    self.start = start
    let list = options.split(separator: ",").map { $0.filter { $0 != " " } + "," }.joined()
    let target =
      list.isEmpty ? [name] : ["--image-opts", "driver=qcow2,\(list)file.driver=file,file.filename=\(name)"]
    let all = requests + (crashes ? ["sigraise 9"] : [])
    commands = [
      Command(
        program: "qemu-io", arguments: (isReadOnly ? ["-r"] : []) + all.flatMap { ["-c", $0] } + target)
    ]
  }
}

extension Workbench {
  /// The first place where the files are not those of somebody else, but for the dates of snapshots; nil if they are.
  package func difference(from others: [String: any Storage]) -> String? {
    for name in Set(files.keys).union(others.keys).sorted() {
      guard let mine = files[name] else { return "'\(name)' is made by the tools only" }
      guard let theirs = others[name] else { return "'\(name)' is not made by the tools" }
      guard mine.length == theirs.length else {
        return "'\(name)' has \(mine.length) bytes, that of the tools \(theirs.length)"
      }
      if let place = FileDigest.difference(mine, theirs) {
        return "'\(name)' and that of the tools differ from 0x\(String(place, radix: 16)) on"
      }
    }
    return nil
  }
}

extension FileDigest {
  private static let longest: UInt64 = 1 << 20

  /// The first byte in which two files of one length differ, but for dates. Nothing is read where both have nothing.
  static func difference(_ one: MemoryStorage, _ other: any Storage) -> UInt64? {
    let dates = ImageBytes(one)?.dates ?? []
    var rows = one.written[...]
    var at: UInt64 = 0
    while at < one.length {
      while let row = rows.first, row.upperBound <= at { rows.removeFirst() }
      let mine = max(at, rows.first?.lowerBound ?? one.length)
      let extent = other.extent(at: at)
      guard !extent.isHole || mine == at else {
        at = min(mine, max(extent.end, at + 1))
        continue
      }
      let count = Int(min(longest - at % longest, one.length - at))
      if let place = difference(one, other, at, count, dates) { return place }
      at += UInt64(count)
    }
    return nil
  }

  private static func difference(
    _ one: MemoryStorage, _ other: any Storage, _ at: UInt64, _ count: Int, _ dates: [Range<UInt64>]
  ) -> UInt64? {
    guard let mine = try? one.bytes(at: at, count: count), let theirs = try? other.bytes(at: at, count: count)
    else { return at }
    let isSame = unsafe mine.withUnsafeBytes { one in unsafe theirs.withUnsafeBytes { unsafe one.isSame($0) }
    }
    guard !isSame else { return nil }
    for index in 0..<count where mine[index] != theirs[index] {
      let place = at + UInt64(index)
      if !dates.contains(where: { $0.contains(place) }) { return place }
    }
    return nil
  }
}
