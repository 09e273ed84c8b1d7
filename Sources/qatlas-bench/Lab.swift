// The folder where races run, and what they have there: programs, files, numbers that only look random.

import Glibc

struct Lab {
  var folder: String
  var qatlas: String
  /// Whose tools make the files, and run as `qemu-img` and `qemu-io`.
  var judge: Judge

  func path(_ name: String) -> String { folder + "/" + name }

  func run(_ program: String, _ arguments: [String], input: String? = nil) throws(BenchError) {
    try judge.invocation(Invocation(program, arguments, input: input)).run()
  }

  /// Where a file of tables may be that is longer than a disk's file system allows: in memory, as it is nearly all
  /// holes.
  func sparse(_ name: String) -> String {
    "/dev/shm/" + (folder.split(separator: "/").last.map(String.init) ?? "") + "-" + name
  }

  /// Removes the files of the race before.
  func clear() throws(BenchError) {
    try run("sh", ["-c", "rm -f '\(folder)'/* '\(sparse(""))'*"])
  }

  /// A sparse copy, which starts on disk and not in the host's memory of things to write.
  func copy(_ from: String, _ to: String) throws(BenchError) {
    try run("cp", ["--sparse=always", path(from), path(to)])
    try run("sync", [path(to)])
  }

  /// An image with all tables and nothing else, at a path.
  func tables(_ path: String, gibibytes: Int, clusterSize: String = "64k") throws(BenchError) {
    try run(
      "qemu-img",
      [
        "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata,cluster_size=\(clusterSize)", path,
        "\(gibibytes)G",
      ])
  }

  /// Fills an image with one byte. One command writes less than 2 GiB.
  func fill(_ name: String, mebibytes: Int, pattern: Int = 170) throws(BenchError) {
    let writes = stride(from: 0, to: mebibytes, by: 1024).flatMap {
      ["-c", "write -q -P \(pattern) \($0)M \(min(1024, mebibytes - $0))M"]
    }
    try run("qemu-io", ["-t", "writeback", "-f", "qcow2"] + writes + [path(name)])
  }

  /// Writes a file of that size and removes it.
  func warm(_ mebibytes: Int) throws(BenchError) {
    guard mebibytes > 0 else { return }
    let file = path("warm")
    try run("sh", ["-c", "head -c \(mebibytes)M /dev/zero > '\(file)' && rm '\(file)'"])
  }

  /// Lines of commands, for standard input.
  func script(_ name: String, _ lines: [String]) throws(BenchError) {
    try Self.write(Array((lines.joined(separator: "\n") + "\n").utf8), to: path(name))
  }

  /// Bytes that the host keeps for a file.
  func allocated(_ name: String) -> Int {
    var status = Glibc.stat()
    return unsafe stat(path(name), &status) == 0 ? status.st_blocks * 512 : 0
  }

  /// A new file with these bytes.
  static func write(_ text: [UInt8], to path: String) throws(BenchError) {
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    guard descriptor >= 0 else { throw BenchError("cannot write \(path)") }
    defer { close(descriptor) }
    var done = 0
    while done < text.count {
      let put = unsafe text.withUnsafeBytes {
        let rest = unsafe UnsafeRawBufferPointer(rebasing: $0[done...])
        return unsafe Glibc.write(descriptor, rest.baseAddress, rest.count)
      }
      guard put > 0 else { throw BenchError("cannot write \(path)") }
      done += put
    }
  }

  static func firstLine(_ path: String) -> String { lines(path).first ?? "?" }

  /// The lines of a text file; none if it cannot be read.
  static func lines(_ path: String) -> [String] {
    guard let file = unsafe fopen(path, "r") else { return [] }
    defer { unsafe fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = unsafe fread(&buffer, 1, buffer.count, file)
      guard count > 0 else { break }
      bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
  }
}

/// How large the work of a race is, in parts of 64: 64 is the size that its purpose names.
struct Scale {
  var parts: Int
  static let full = Scale(parts: 64)

  /// That much of a number, at least 1.
  func callAsFunction(_ number: Int) -> Int { max(1, number * parts / 64) }
  func callAsFunction(_ number: UInt64) -> UInt64 { max(1, number * UInt64(parts) / 64) }
}

/// Numbers that look random and are the same every time.
struct Numbers {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func below(_ bound: UInt64) -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return (mixed ^ (mixed >> 31)) % bound
  }

  /// 0 ..< count, each once, in another order.
  mutating func order(_ count: Int) -> [Int] {
    var result = Array(0..<count)
    for index in stride(from: count - 1, to: 0, by: -1) {
      result.swapAt(index, Int(below(UInt64(index + 1))))
    }
    return result
  }
}
