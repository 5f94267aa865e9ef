//! A Chromium that is told what to do through its debugging pipe: messages of JSON, each ended by a zero byte.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a page may take for what a test waits for; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Chromium {
    child: Child,
    folder: PathBuf,
    write: File,
    read: BufReader<File>,
    session: Option<String>,
    number: u64,
    complaints: Vec<String>,
}

impl Chromium {
    /// Starts the browser with an empty page; nothing where there is no browser.
    pub(crate) fn start() -> Option<Self> {
        let program =
            std::env::var_os("WEIR_CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
        if !program.exists() {
            println!("skipped: no browser at {}", program.display());
            return None;
        }
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("weir-console-browser-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let pipes = [folder.join("in"), folder.join("out")];
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        // The browser takes its orders on descriptor 3 and answers on 4.
        let child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<\"$0/in\" 4>\"$0/out\""])
            .arg(&folder)
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage", "--lang=en-GB"])
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let write = File::options().write(true).open(&pipes[0]).unwrap();
        let read = BufReader::new(File::open(&pipes[1]).unwrap());
        let mut browser = Self { child, folder, write, read, session: None, number: 0, complaints: Vec::new() };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, &json!({}));
        }
        Some(browser)
    }

    /// Sends an order and returns its result.
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.number += 1;
        let mut order = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        self.write.write_all(format!("{order}\0").as_bytes()).unwrap();
        loop {
            let mut bytes = Vec::new();
            self.read.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "the browser ended");
            let message: Value = serde_json::from_slice(&bytes).unwrap();
            if message["id"] == self.number {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let entry = &event["params"]["entry"];
        let complaint = match event["method"].as_str() {
            Some("Log.entryAdded") if entry["level"] == "error" => entry["text"].as_str(),
            Some("Runtime.exceptionThrown") => event["params"]["exceptionDetails"]["exception"]["description"].as_str(),
            _ => None,
        };
        self.complaints.extend(complaint.map(str::to_owned));
    }

    /// Errors of the page so far: exceptions, refused requests, breaches of the policy.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        self.evaluate("0");
        self.complaints.clone()
    }

    pub(crate) fn go(&mut self, url: &str) {
        self.call("Page.navigate", &json!({"url": url}));
    }

    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.call("Runtime.evaluate", &json!({"expression": expression, "returnByValue": true}));
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait(&mut self, expression: &str) {
        let started = Instant::now();
        // Between two pages an element may be missing for a moment.
        let guarded = format!("(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()");
        while self.evaluate(&guarded) != true {
            if started.elapsed() > PATIENCE {
                let body = self.text("body");
                panic!("never true: {expression}\n{body}\n{:?}", self.complaints);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector('{selector}').textContent"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Sets the window's size and the colour scheme.
    pub(crate) fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &scheme);
    }

    /// Writes a picture of the window.
    pub(crate) fn picture(&mut self, path: &Path) {
        let answer = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let mut decoder =
            Command::new("base64").arg("-d").stdin(Stdio::piped()).stdout(File::create(path).unwrap()).spawn().unwrap();
        decoder.stdin.take().unwrap().write_all(answer["data"].as_str().unwrap().as_bytes()).unwrap();
        assert!(decoder.wait().unwrap().success());
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
