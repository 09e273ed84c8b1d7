// `qatlas step`: one operation step by step, and what a power cut behind each step would leave.

import ArgumentParser
import Cartography
import CellScreen
import Explorer
import Qcow
import Storage
import ToolText

struct StepCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "step",
    abstract: "Do one operation in memory, and tell every step with what a crash there would leave.",
    discussion: """
      The operation is a line of the explorer, such as 'write 0 4k', 'discard 1M 2M' or 'snapshot-create one'; of \
      several the last one is told. The file stays as it is. Behind each step stands what a check of the crashed \
      image would find and what the guest would read, then what the orders come to in which a disk may bring to \
      rest what lies between two flushes.
      """)

  @Option(
    name: .customShort("c"), parsing: .singleValue,
    help: ArgumentHelp("The operation. May be given more than once.", valueName: "line"))
  var lines: [String] = []
  @Flag(help: "Print JSON.") var json = false
  @OptionGroup var opening: SessionFlags
  @Argument(help: "The image file.", completion: .file()) var image: String

  func validate() throws {
    if lines.isEmpty { throw ValidationError("an operation is needed: -c 'write 0 4k'") }
  }

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let files = HostFiles(path: image)
    let session: Session
    do throws(ImageError) {
      session = try opening.open(image, files, mode: .scratch, readsConfiguration: true)
    } catch { throw streams.failure("\(Escaping.human(image)): \(Escaping.human(error.description))") }
    let explorer = Explorer(session, files: files, width: 80, height: 24, glyphs: .ascii)
    for line in lines {
      let before = session.revision
      do throws(ScriptError) { try ScriptRunner.run(":" + line, on: explorer) } catch {
        throw streams.failure("\(Escaping.human(line)): \(Escaping.human(error.message))")
      }
      if session.revision == before {
        throw streams.failure("\(Escaping.human(line)): nothing would change, so there are no steps")
      }
    }
    guard let story = session.story(of: session.generation - 1) else {
      throw streams.failure("\(Escaping.human(lines.last ?? "")): there is no operation to tell")
    }
    story.survey.askAll()
    Scheduler.finish(story.survey)
    StepText(story.title, story.trace, story.survey).write(json: json, output: streams.output)
  }
}
