//! Debian's Chromium, driven over `WebDriver` (W3C): JSON over HTTP, of which tests need a dozen commands. The crate that
//! speaks it all brings twenty-five more.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::tools::program;

/// Under which an element is named in JSON (`WebDriver` §11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One window, and the processes behind it.
pub(crate) struct Browser {
    session: String,
    driver: Child,
    client: reqwest::Client,
}

/// Something on the page that is open.
#[derive(Clone)]
pub(crate) struct Element(String);

impl Drop for Browser {
    fn drop(&mut self) {
        // Its browser goes with it: they share a process group.
        let group = format!("-{}", self.driver.id());
        let _told = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _reaped = self.driver.wait();
    }
}

impl Browser {
    /// Opens a window; `None` where there is no browser. With `scripts` off, pages run none.
    pub(crate) async fn open(scripts: bool) -> Option<Self> {
        let (driver, chromium) = (program("chromedriver")?, program("chromium")?);
        let (driver, port) = start(&driver);
        let client = super::client_for(Duration::from_mins(1));
        let mut browser = Self { session: format!("http://127.0.0.1:{port}/session"), driver, client };
        // Whoever runs tests may be root, and a container's shared memory may be small.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let setting = if scripts { 1 } else { 2 };
        let options = json!({
            "binary": chromium,
            "args": arguments,
            "prefs": {"profile.managed_default_content_settings.javascript": setting},
        });
        let wish = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let made = browser.post("", wish).await;
        browser.session = format!("{}/{}", browser.session, made["sessionId"].as_str().unwrap());
        Some(browser)
    }

    async fn post(&self, command: &str, arguments: Value) -> Value {
        let asked = self.client.post(format!("{}{command}", self.session)).json(&arguments);
        answer(command, asked).await
    }

    async fn get(&self, command: &str) -> Value {
        answer(command, self.client.get(format!("{}{command}", self.session))).await
    }

    /// Opens an address and waits until it is loaded.
    pub(crate) async fn goto(&self, url: &str) {
        self.post("/url", json!({"url": url})).await;
    }

    /// The address that is open.
    pub(crate) async fn url(&self) -> String {
        self.get("/url").await.as_str().unwrap().to_owned()
    }

    /// All that match a CSS selector.
    pub(crate) async fn all(&self, css: &str) -> Vec<Element> {
        self.elements("css selector", css).await
    }

    /// The one that matches a CSS selector.
    pub(crate) async fn one(&self, css: &str) -> Element {
        self.only("css selector", css).await
    }

    /// The first link with this text.
    pub(crate) async fn link(&self, text: &str) -> Element {
        self.only("partial link text", text).await
    }

    async fn only(&self, using: &str, value: &str) -> Element {
        let found = self.elements(using, value).await;
        let url = self.url().await;
        found.into_iter().next().unwrap_or_else(|| panic!("no {value:?} on {url}"))
    }

    async fn elements(&self, using: &str, value: &str) -> Vec<Element> {
        let found = self.post("/elements", json!({"using": using, "value": value})).await;
        let found = found.as_array().unwrap().iter();
        found.map(|one| Element(one[ELEMENT].as_str().unwrap().to_owned())).collect()
    }

    /// Presses it, and waits for the page that this opens.
    pub(crate) async fn click(&self, Element(id): &Element) {
        self.post(&format!("/element/{id}/click"), json!({})).await;
    }

    pub(crate) async fn write(&self, Element(id): &Element, text: &str) {
        self.post(&format!("/element/{id}/value"), json!({"text": text})).await;
    }

    /// What of it can be seen.
    pub(crate) async fn text(&self, Element(id): &Element) -> String {
        self.get(&format!("/element/{id}/text")).await.as_str().unwrap().to_owned()
    }

    /// Whether these words stand there, now or on the page that is being opened.
    pub(crate) async fn shows(&self, words: &str) -> bool {
        let path = format!("//main//*[contains(normalize-space(.), \"{words}\")]");
        !self.elements("xpath", &path).await.is_empty()
    }

    /// All that can be seen.
    pub(crate) async fn page(&self) -> String {
        self.text(&self.one("body").await).await
    }

    /// What a script answers that is not the page's own.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("/execute/async", json!({"script": script, "args": []})).await
    }

    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    pub(crate) async fn prefer(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    /// The whole page as a PNG.
    pub(crate) async fn picture(&self, file: &Path) {
        let wish = json!({"format": "png", "captureBeyondViewport": true});
        let taken = self.devtools("Page.captureScreenshot", wish).await;
        std::fs::write(file, STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()).unwrap();
    }
}

async fn answer(command: &str, asked: reqwest::RequestBuilder) -> Value {
    let mut answer: Value = asked.send().await.unwrap().json().await.unwrap();
    let value = answer["value"].take();
    assert!(value.get("error").is_none(), "{command}: {} {}", value["error"], value["message"]);
    value
}

/// Starts the driver on a port of its choice.
fn start(driver: &Path) -> (Child, u16) {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(driver);
    let mut child = command
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port =
        said.find_map(|line| line.trim_end_matches('.').rsplit_once("successfully on port ")?.1.parse().ok());
    (child, port.expect("the driver says where it listens"))
}
