// Passphrases on the command line: every way to give one, what is said when it is wrong or missing,
// and that the prompt shows nothing and leaves the terminal as it was.

import Explorer
import Foundation
import TestSupport
import Testing
import ToolText

@Suite("Secrets", .serialized, .tags(.genuine)) struct SecretTests {
  private static let image: Result<[UInt8], any Error> = Result {
    let folder = try TemporaryDirectory()
    let path = folder.path("a.qcow2")
    try GenuineEncryption.copy(path, "encrypt.format=luks", size: "4M")
    let result = try run(
      "qemu-io",
      GenuineEncryption.object + ["--image-opts", GenuineEncryption.options(path), "-c", "write -P 5 0 64k"])
    guard result.status == 0 else { throw TestFailure(result.stderr) }
    return try Array(Data(contentsOf: URL(fileURLWithPath: path)))
  }

  private let judge: Judge

  init() throws {
    judge = try Judge()
    try Data(try Self.image.get()).write(to: URL(fileURLWithPath: judge.path("a.qcow2")))
    try Data(GenuineEncryption.passphrase.utf8).write(to: URL(fileURLWithPath: judge.path("pass")))
    try Data("\(GenuineEncryption.passphrase)\n".utf8).write(to: URL(fileURLWithPath: judge.path("line")))
    try Data("b3BlbiBzZXNhbWU=\n".utf8).write(to: URL(fileURLWithPath: judge.path("base64")))
  }

  private func qatlas(_ arguments: [String], environment: [String: String?] = [:]) throws -> Printed {
    let result = try run(
      judge.qatlas, arguments, environment: testEnvironment(environment), directory: judge.folder.path)
    return Printed(output: result.stdout, errors: result.stderr, status: result.status)
  }

  private static let read = ["-r", "-c", "read -q -P 5 0 64k"]
  private static let named = "driver=qcow2,file.filename=a.qcow2,encrypt.key-secret=s"

  @Test("every way to give the passphrase unlocks the image")
  func ways() throws {
    let variable = ["PASS": GenuineEncryption.passphrase]
    for words in [["--secret", "file=pass"], ["--secret=env=PASS"], ["--secret", "env=PASS"]] {
      for command in [["io"] + Self.read, ["info"], ["map", "--output=json"]] {
        let printed = try qatlas(command + words + ["a.qcow2"], environment: variable)
        #expect(printed.status == 0 && printed.errors.isEmpty, "\(command) \(words): \(printed)")
        #expect(!printed.output.contains("failed"))
      }
    }
    for object in [
      "secret,id=s,data=open sesame", "secret,id=s,file=pass", "qom-type=secret,id=s,file=pass,format=raw",
      "secret,id=s,file=base64,format=base64", "secret,id=s,data=b3BlbiBzZXNhbWU=,format=base64",
    ] {
      let words = ["--object", object, "--image-opts", Self.named]
      #expect(try qatlas(["io"] + Self.read + words).status == 0, "\(object)")
      #expect(try judge.genuine("qemu-io", Self.read + words).status == 0, "\(object)")
      #expect(try qatlas(["info"] + words).status == 0, "\(object)")
      let ours = try judge.ours(["map", "--output=json"] + words)
      #expect(try ours == judge.genuine("qemu-img", ["map", "--output=json"] + words), "\(object)")
    }
  }

  @Test("what is wrong with a passphrase is said, with exit code 1")
  func refusals() throws {
    let cases: [(words: [String], says: String)] = [
      (["--secret", "file=line", "a.qcow2"], "Invalid password, cannot unlock any keyslot"),
      (["--secret", "env=PASS", "a.qcow2"], "Invalid password, cannot unlock any keyslot"),
      (["--secret", "env=NOTHING", "a.qcow2"], "no variable 'NOTHING'"),
      (["--secret", "file=gone", "a.qcow2"], "No such file"),
      (["--secret", "prompt", "a.qcow2"], "no terminal to ask"),
      (["--secret", "open sesame", "a.qcow2"], "prompt, file=PATH or env=NAME"),
      (["--secret", "file=", "a.qcow2"], "prompt, file=PATH or env=NAME"),
      (["--image-opts", Self.named], "No secret with id 's'"),
      (["--object", "secret,id=s,data=x", "--image-opts", Self.named], "Invalid password"),
      (["--object", "secret,id=s", "--image-opts", Self.named], "'file' or 'data'"),
      (["--object", "secret,data=x", "--image-opts", Self.named], "'id' is missing"),
      (["--object", "iothread,id=s", "--image-opts", Self.named], "only secrets"),
      (["--object", "secret,id=s,data=%%%,format=base64", "--image-opts", Self.named], "base64"),
      (["--object", "secret,id=s,data=x,keyid=k,iv=i", "--image-opts", Self.named], "not supported"),
    ]
    for (words, says) in cases {
      // Without a terminal of its own, the program has none to ask on.
      let printed = try run(
        "setsid", ["--wait", judge.qatlas, "io"] + Self.read + words,
        environment: testEnvironment(["PASS": "wrong"]),
        directory: judge.folder.path)
      #expect(printed.status == 1 && printed.stderr.contains(says), "\(words): \(printed.stderr)")
      #expect(!printed.stderr.contains("sesame"), "the passphrase is repeated: \(printed.stderr)")
    }
    // Without any, the structure is there, the data is not, and nothing is written.
    let reading = try qatlas(["io"] + Self.read + ["a.qcow2"])
    #expect(reading.status == 1 && reading.errors.contains("--secret"), "\(reading)")
    let writing = try qatlas(["io", "-c", "write 0 1", "a.qcow2"])
    #expect(writing.status == 1 && writing.errors.contains("--secret"), "\(writing)")
    #expect(try qatlas(["map", "--output=json", "a.qcow2"]).status == 0)
    #expect(try Array(Data(contentsOf: URL(fileURLWithPath: judge.path("a.qcow2")))) == Self.image.get())
  }

  @Test("a secret for an image that is not encrypted is not asked for")
  func plain() throws {
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "plain.qcow2", "1M"])
    #expect(try qatlas(["io", "--secret", "prompt", "-c", "write -q 0 1", "plain.qcow2"]).status == 0)
  }

  @Test("the explorer unlocks, writes and saves")
  func explorer() throws {
    try Data(":write -P 9 64k 64k\n:w\n:read -P 9 64k 64k\n:read -P 5 0 64k\n".utf8)
      .write(to: URL(fileURLWithPath: judge.path("keys")))
    let printed = try qatlas(["explore", "--secret", "file=pass", "--script", "keys", "a.qcow2"])
    #expect(printed.status == 0, "\(printed)")
    let words = GenuineEncryption.object + ["--image-opts", GenuineEncryption.options("a.qcow2")]
    let genuine = try judge.genuine(
      "qemu-io", words + ["-c", "read -q -P 9 64k 64k", "-c", "read -q -P 5 0 64k"])
    #expect(genuine.status == 0 && genuine.output.isEmpty, "\(genuine)")
    try judge.must("qemu-img", ["check", "-q"] + words)
    let wrong = try qatlas(["explore", "--secret", "file=line", "--script", "keys", "a.qcow2"])
    #expect(wrong.status == 1 && wrong.errors.contains("Invalid password"), "\(wrong)")
  }

  // MARK: The prompt

  private func session(_ arguments: [String]) throws -> PtySession {
    try PtySession(judge.qatlas, arguments + [judge.path("a.qcow2")])
  }

  private static let prompted = ["io", "--secret", "prompt"] + read

  @Test("the prompt shows nothing of the answer")
  func prompt() throws {
    let session = try session(Self.prompted)
    try session.waitFor("Passphrase of")
    session.send(GenuineEncryption.passphrase + "\n")
    #expect(try session.waitForExit() == 0)
    #expect(!session.screen.text.contains("sesame") && !session.screen.text.contains("failed"))
    #expect(session.settings == session.initialSettings)
  }

  @Test("a wrong answer, an empty one and none", arguments: ["wrong\n", "\n", "\u{4}"])
  func wrongAnswer(answer: String) throws {
    let session = try session(Self.prompted)
    try session.waitFor("Passphrase of")
    session.send(answer)
    #expect(try session.waitForExit() == 1)
    let says = answer == "\u{4}" ? "no passphrase was given" : "Invalid password"
    #expect(session.screen.text.contains(says), "\(session.screen.text)")
    #expect(session.settings == session.initialSettings)
  }

  @Test(
    "signals end the prompt and bring the terminal back",
    arguments: [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGALRM, SIGXCPU, 34])
  func signals(signal: Int32) throws {
    let session = try session(Self.prompted)
    try session.waitFor("Passphrase of")
    session.send("open se")
    if signal == SIGINT { session.send("\u{3}") } else { session.signal(signal) }
    #expect(try session.waitForExit() == 128 + signal)
    #expect(session.settings == session.initialSettings)
    #expect(!session.screen.text.contains("open se"))
  }

  @Test("a prompt that is stopped and continued asks again")
  func stopped() throws {
    try requireTool("bash")
    let tmux = try Tmux(
      "env PS1='> ' bash --norc --noprofile",
      environment: testEnvironment([
        "HISTFILE": "", "QATLAS": judge.qatlas, "IMAGE": judge.path("a.qcow2"),
      ]))
    try tmux.waitFor(">")
    try tmux.type("\"$QATLAS\" io --secret prompt -r -c 'read -q -P 5 0 64k' \"$IMAGE\"")
    try tmux.press("Enter")
    try tmux.waitFor("Passphrase of")
    try tmux.press("C-z")
    try tmux.waitFor("Stopped")
    // The shell shows what is typed.
    try tmux.type("echo in the shell")
    try tmux.waitFor("> echo in the shell")
    try tmux.press("Enter")
    try tmux.type("fg")
    try tmux.press("Enter")
    try tmux.waitUntil("the second question") {
      try tmux.capture().components(separatedBy: "Passphrase of").count > 2
    }
    try tmux.type(GenuineEncryption.passphrase)
    try tmux.press("Enter")
    try tmux.waitUntil("the end") {
      try tmux.capture().trimmingCharacters(in: .whitespacesAndNewlines).hasSuffix("\n>")
    }
    try tmux.type("echo status $?")
    try tmux.press("Enter")
    try tmux.waitFor("\nstatus 0")
    #expect(try !tmux.capture().contains("sesame"))
  }

  @Test("base64 as the standard has it")
  func base64() {
    func decode(_ text: String) -> String? {
      var bytes = Array(text.utf8)
      return bytes.withUnsafeMutableBytes { room in
        SecretRequest.decodeBase64(room).map { String(decoding: room[0..<$0], as: UTF8.self) }
      }
    }
    for text in ["", "a", "ab", "abc", "abcd", "\u{0}~ü漢", "any carnal pleasure"] {
      #expect(decode(Data(text.utf8).base64EncodedString()) == text)
      #expect(decode(Data(text.utf8).base64EncodedString() + "\n") == text)
    }
    for text in ["=", "a", "ab", "abc", "abc?", "a===", "ab==cd==", "====", "YW Jj"] {
      #expect(decode(text) == nil, "\(text)")
    }
  }
}
